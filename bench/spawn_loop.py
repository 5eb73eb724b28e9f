"""The bare minimum for `cat`: posix_spawn, two pipes, waitpid. `python -m bench.spawn_loop SECONDS BYTES` prints runs per second.

No HTTP, no event loop, no checks: what any server that starts a program per request has to do at least.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

_CLOSE = os.POSIX_SPAWN_CLOSE
_DUP2 = os.POSIX_SPAWN_DUP2


def run_once(program: str, body: bytes) -> bytes:
    """Start it, write `body` (which must fit a pipe), read all it writes, wait for its end. Its output."""
    stdin, into = os.pipe()
    out, stdout = os.pipe()
    actions = ((_DUP2, stdin, 0), (_DUP2, stdout, 1), (_CLOSE, into), (_CLOSE, out))
    pid = os.posix_spawn(program, [program], os.environ, file_actions=actions)
    os.close(stdin)
    os.close(stdout)
    os.write(into, body)
    os.close(into)
    pieces = []
    while piece := os.read(out, 65536):
        pieces.append(piece)
    os.close(out)
    os.waitpid(pid, 0)
    return b"".join(pieces)


def rate(program: str, body: bytes, seconds: float) -> float:
    """Runs per second, one after another. Raises RuntimeError when the output is not the body."""
    begun = time.perf_counter()
    count = 0
    while (passed := time.perf_counter() - begun) < seconds:
        if run_once(program, body) != body:
            raise RuntimeError(f"{program} did not return what it got")
        count += 1
    return count / passed


def find(program: str) -> str:
    """Its absolute path. Raises FileNotFoundError."""
    path = shutil.which(program)
    if path is None:
        raise FileNotFoundError(program)
    return path


if __name__ == "__main__":
    print(rate(find("cat"), b"x" * int(sys.argv[2]), float(sys.argv[1])))
