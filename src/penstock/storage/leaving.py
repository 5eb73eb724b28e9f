"""The end of a process that may have used the storage library. Called by whatever `main` such a process has, last of all."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End the process with this exit code.

    Where the library is loaded, at once: one of its threads may still be letting go of an object of Python, and CPython before
    3.14 ends a thread that asks for the interpreter while that ends, in a way that aborts the whole process.
    """
    if "obstore" not in sys.modules:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 1  # as the interpreter's own end has it
    os._exit(code)
