"""The check from outside, `--run-healthcheck`: whether a running watchdog has its lock file (contract §1.2).

Called by the command line and by the bundle's entry. A module of its own because orchestrators run it every few seconds,
each time in a new process, which should import next to nothing.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping


def lock_exists(path: str) -> bool:
    """Whether a watchdog in this container says that it is healthy."""
    return os.path.exists(path)


def healthcheck(environ: Mapping[str, str]) -> int:
    """Exit code of `--run-healthcheck`: 0 when the lock file of this environment's watchdog exists, else 1 and a word on stderr."""
    path = (environ.get("TMPDIR") or "/tmp").rstrip("/") + "/.lock"
    if lock_exists(path):
        return 0
    with contextlib.suppress(OSError):
        os.write(2, f"unhealthy: no lock file at {path}\n".encode("utf-8", "backslashreplace"))
    return 1
