"""Starts a new bundle once, before it is put in place: what cannot start is never handed over, and what it takes is told.

Called by `build`, and by `penstock.image` for the gateway. Unless told otherwise it is the watchdog that serves on a free port of
this machine for a moment, with a program that is never run.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.errors import PenstockError

_LONGEST = 60.0


@dataclass(frozen=True, slots=True)
class Part:
    """Who is started, and how it is known that it serves."""

    settings: Mapping[str, str]
    """Its whole environment."""
    sign: bytes
    """What it says then."""
    ending: signal.Signals = signal.SIGKILL
    """What ends it."""


WATCHDOG = Part(
    {
        "fprocess": "true",
        "mode": "streaming",
        "port": "0",
        "PENSTOCK_WATCHDOG_METRICS_PORT": "0",
        "suppress_lock": "true",
    },
    b"Listening on port: ",
)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What it took to be ready for requests."""

    seconds: float
    """From its start to the line that says that it listens."""
    resident: int
    """Bytes in memory, shared pages included."""
    private: int
    """Bytes of them that are not files' and cannot be shared with other replicas."""


def rehearse(command: Sequence[str], part: Part = WATCHDOG) -> Rehearsal:
    """Start it by this command line, wait until it serves, end it. Raises PenstockError with its last words."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=part.settings, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        said = _listen(process, part.sign, began + _LONGEST)
        took = time.monotonic() - began
        if part.sign not in said:
            raise PenstockError(f"the bundle does not start:\n{said.decode('utf-8', 'replace').strip()}")
        return Rehearsal(took, *_memory(process.pid))
    finally:
        _end(process, part.ending)


def _listen(process: subprocess.Popen[bytes], sign: bytes, deadline: float) -> bytes:
    """What it says until it serves, ends, or the time is up."""
    assert process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
    said = b""
    while sign not in said and (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stdout], [], [], left)[0]:
            break
        data = os.read(process.stdout.fileno(), 65536)
        if not data:
            break
        said += data
    return said


def _end(process: subprocess.Popen[bytes], ending: signal.Signals) -> None:
    process.send_signal(ending)
    try:
        process.communicate(timeout=_LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def _memory(pid: int) -> tuple[int, int]:
    """Resident and anonymous bytes of a process (proc_pid_smaps(5)); 0 where the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            rows = dict(line.split(":", 1) for line in file.readlines()[1:])
    except OSError:
        return 0, 0
    return tuple(int(rows.get(name, "0 kB").split()[0]) << 10 for name in ("Rss", "Anonymous"))  # type: ignore[return-value]
