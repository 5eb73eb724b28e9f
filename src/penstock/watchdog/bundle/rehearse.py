"""Starts a new bundle once, before it is put in place: what cannot start is never handed over, and what it takes is told.

Called by `build`. The watchdog serves on a free port of this machine for a moment, with a program that is never run.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from penstock.errors import PenstockError

_LONGEST = 30.0
_LISTENS = b"Listening on port: "
_SETTINGS = {
    "fprocess": "true",
    "mode": "streaming",
    "port": "0",
    "PENSTOCK_WATCHDOG_METRICS_PORT": "0",
    "suppress_lock": "true",
}


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What it took to be ready for requests."""

    seconds: float
    """From its start to the line that says that it listens."""
    resident: int
    """Bytes in memory, shared pages included."""
    private: int
    """Bytes of them that are not files' and cannot be shared with other replicas."""


def rehearse(command: Sequence[str]) -> Rehearsal:
    """Start the watchdog by this command line, wait until it listens, end it. Raises PenstockError with its last words."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=_SETTINGS, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        said = _listen(process, began + _LONGEST)
        took = time.monotonic() - began
        if _LISTENS not in said:
            raise PenstockError(f"the bundle does not start:\n{said.decode('utf-8', 'replace').strip()}")
        return Rehearsal(took, *_memory(process.pid))
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def _listen(process: subprocess.Popen[bytes], deadline: float) -> bytes:
    """What it says until it listens, ends, or the time is up."""
    assert process.stderr is not None  # noqa: S101 - for the type checker: it is a pipe
    said = b""
    while _LISTENS not in said and (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stderr], [], [], left)[0]:
            break
        data = os.read(process.stderr.fileno(), 65536)
        if not data:
            break
        said += data
    return said


def _memory(pid: int) -> tuple[int, int]:
    """Resident and anonymous bytes of a process (proc_pid_smaps(5)); 0 where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            rows = dict(line.split(":", 1) for line in file.readlines()[1:])
    except OSError:
        return 0, 0
    return tuple(int(rows.get(name, "0 kB").split()[0]) << 10 for name in ("Rss", "Anonymous"))  # type: ignore[return-value]
