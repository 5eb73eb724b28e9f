"""Compiles source files to bytecode without sources: run as a program, in a process of its own.

`write` starts it with pairs of a source and a target on stdin, as JSON, and the name of the file that tracebacks are to show.
What marshal writes depends on what else the process holds, so that only a process which does nothing else writes the same
bytes each time.
"""

from __future__ import annotations

import json
import os
import py_compile
import sys


def compile_all(jobs: list[tuple[str, str, str]]) -> list[str]:
    """Write the bytecode of each (source, target, shown). Returns what could not be compiled, with the reason."""
    faults = []
    for source, target, shown in jobs:
        try:
            py_compile.compile(
                source, target, shown, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )
            os.chmod(target, 0o644)
        except py_compile.PyCompileError as error:
            faults.append(f"{source}: {error.msg.strip().splitlines()[-1]}")
    return faults


def main() -> None:
    json.dump(compile_all(json.load(sys.stdin)), sys.stdout)


if __name__ == "__main__":
    main()
