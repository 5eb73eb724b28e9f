"""Facts about processes from /proc, and ending a whole session of them.

A replica leads a session of its own; whatever its programs start stays in that session or carries the replica's mark in its
environment. The zygote and the process runtime use both to leave nothing behind when a replica ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Iterator, Set
from pathlib import Path
from typing import NamedTuple

MARK = "PENSTOCK_REPLICA"
"""Variable with the token of the replica that a process belongs to; programs inherit it."""

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_SET_PDEATHSIG = 1


class Stat(NamedTuple):
    """What /proc/PID/stat says (proc(5))."""

    pid: int
    state: str
    parent: int
    session: int
    cpu_seconds: float
    children_seconds: float
    """Of children that ended and were waited for, and of theirs."""
    started: int
    """Clock ticks since boot; with the pid it names a process for as long as the machine is up."""


def stat_of(pid: int) -> Stat | None:
    """None when there is no such process."""
    try:
        text = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name stands in parentheses and may contain anything, so the fields are counted from its end.
    fields = text[text.rindex(b")") + 2 :].split()
    return Stat(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        children_seconds=(int(fields[13]) + int(fields[14])) / _TICKS,
        started=int(fields[19]),
    )


def is_running(pid: int, started: int) -> bool:
    """Whether that very process still runs; a zombie does not."""
    stat = stat_of(pid)
    return stat is not None and stat.started == started and stat.state not in "ZX"


def all_processes() -> Iterator[Stat]:
    for name in os.listdir(_PROC):
        if name.isdigit() and (stat := stat_of(int(name))):
            yield stat


def children() -> list[int]:
    """Processes whose parent is this one. Needs CONFIG_PROC_CHILDREN, which distributions set."""
    try:
        return [int(pid) for pid in (_PROC / f"self/task/{os.getpid()}/children").read_bytes().split()]
    except FileNotFoundError:
        return [stat.pid for stat in all_processes() if stat.parent == os.getpid()]


def mark_of(pid: int) -> str:
    """The token of the replica that a process was started in; empty when it has none or may not be read."""
    try:
        entries = (_PROC / str(pid) / "environ").read_bytes().split(b"\x00")
    except OSError:
        return ""
    prefix = f"{MARK}=".encode()
    return next((os.fsdecode(entry[len(prefix) :]) for entry in entries if entry.startswith(prefix)), "")


def kill_leftovers(sessions: Set[int], tokens: Set[str]) -> int:
    """SIGKILL for every process of these sessions or with these marks, until none is found; how many there were.

    A pass may miss what is being forked meanwhile, so passes go on until one finds nothing.
    """
    killed = 0
    for _ in range(20):
        found = [stat for stat in all_processes() if stat.state not in "ZX" and stat.pid != os.getpid()]
        found = [stat for stat in found if stat.session in sessions or (tokens and mark_of(stat.pid) in tokens)]
        if not found:
            break
        for stat in found:
            kill(stat.pid)
        killed += len(found)
    return killed


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal; a process that is already gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def memory_of(pid: int) -> int:
    """Bytes of the process's proportional share of memory (PSS): pages shared with others count in parts."""
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_bytes()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith(b"Pss:")), 0)


def boot_id() -> str:
    """Names this boot of the machine; process numbers mean nothing in another."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


def describe_end(status: int | None) -> str:
    """A wait status in words; None when nobody could learn it."""
    if status is None:
        return "ended, nobody saw how"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"ended by signal {number} ({signal.strsignal(number) or 'unknown'})"
    return f"exit code {os.WEXITSTATUS(status)}"


def become_subreaper() -> None:
    """Orphans among our descendants become our children instead of init's. Raises OSError."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def refuse_new_privileges() -> None:
    """Set-user-id programs gain nothing from now on, here and in every descendant. Raises OSError."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent` ends. Descendants are not affected. Raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(os.EX_OK)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
