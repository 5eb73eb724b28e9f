"""What a forked process does to become a replica: session, directory, secrets, log, sandbox, then the watchdog.

The zygote calls `become` in the child right after the fork and never returns from there. It waits for nothing and syncs
nothing: all of it is on the way of a cold start.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from penstock.providers.runtimes.logwriter import LogFile, LogWriter
from penstock.providers.runtimes.messages import Launch
from penstock.providers.runtimes.processes import MARK, boot_id, refuse_new_privileges, stat_of
from penstock.providers.runtimes.records import Record, write_record
from penstock.providers.runtimes.sandbox import Plan, enter

Main = Callable[[Mapping[str, str], str], int]
"""Serves at an address with an environment until told to stop; returns the exit code."""

LIFELINE = "PENSTOCK_LIFELINE_FD"
FAILED = 70
"""Exit code of a replica that could not be set up (EX_SOFTWARE of sysexits.h)."""


def become(launch: Launch, main: Main, lifeline: int) -> int:
    """Turn this process into the replica that `launch` describes and serve; returns the exit code."""
    let_go(lifeline)
    return take_part(launch, main, lifeline)


@dataclass(frozen=True)
class Origin:
    """Where a replica comes from that a warmed parent has forked."""

    parent: str
    """The parent's token."""
    luggage: tuple[Path, ...]
    """Directories of the parent to copy: what the import has written."""
    nested: bool
    """Whether it is in a namespace made by `sandbox.open_base`."""


def take_part(launch: Launch, main: Main, lifeline: int, origin: Origin | None = None) -> int:
    """`become` for a process that has already let go of the zygote."""
    # Blocked by the zygote before the fork; one that came meanwhile ends us here.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    directory = Path(launch.directory)
    furnish(directory, launch, origin.parent if origin else "")
    writer = open_log(launch)
    try:
        if origin:
            _copy(origin.luggage, directory)
        enter(plan_of(launch), nested=bool(origin and origin.nested))
        code = _serve(launch, main, lifeline, writer)
    except Exception:
        code = FAILED
        _complain()
    writer.finish()
    return code


def environment(launch: Launch, lifeline: int) -> dict[str, str]:
    """Everything the watchdog gets to see; what the platform says wins over what the function's specification says."""
    directory = Path(launch.directory)
    environ = {
        "HOME": str(directory / "home"),
        **launch.environ,
        "TMPDIR": str(directory / "tmp"),
        "PENSTOCK_SECRETS_DIR": str(directory / "secrets"),
        "PENSTOCK_RUN_ID": launch.run_id,
        MARK: launch.order.token,
    }
    if lifeline >= 0:
        environ[LIFELINE] = str(lifeline)
    return environ


def plan_of(launch: Launch) -> Plan:
    return Plan(
        directory=Path(launch.directory),
        hide=tuple(Path(path) for path in launch.hide),
        keep=tuple(Path(path) for path in launch.keep),
        show=tuple(Path(path) for path in launch.show),
        read_only=launch.read_only,
        alias=Path(launch.alias) if launch.alias else None,
    )


def let_go(lifeline: int, keep: int = -1) -> None:
    """Leave the zygote's session, signals and descriptors behind, but for the lifeline and `keep`."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    kept = {lifeline, keep, *_fork_pipe()}
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2 and int(name) not in kept:
            _close(int(name))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)


def _fork_pipe() -> set[int]:
    """Both ends of the pipe that libuv makes in every forked child, and closes by number when that forks in turn: whatever
    had got these numbers meanwhile would be closed. It is the only pipe with both ends here."""
    ends: dict[str, set[int]] = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            ends.setdefault(os.readlink(f"/proc/self/fd/{name}"), set()).add(int(name))
    return {fd for link, fds in ends.items() if link.startswith("pipe:") and len(fds) == 2 for fd in fds if fd > 2}


def _close(fd: int) -> None:
    with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed already
        os.close(fd)


def furnish(directory: Path, launch: Launch, parent: str = "") -> None:
    """Make the directory with its secrets and its record. `parent`: see `Record`."""
    os.umask(0o077)
    for path in (directory, directory / "tmp", directory / "home", directory / "secrets"):
        path.mkdir(mode=0o700)
    for name, value in launch.order.secrets.items():
        fd = os.open(directory / "secrets" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(fd, "wb") as file:
            file.write(value)
    pid = os.getpid()
    stat = stat_of(pid)
    record = Record(
        order=msgspec.structs.replace(launch.order, secrets={}),
        run_id=launch.run_id,
        boot_id=boot_id(),
        pid=pid,
        started=stat.started if stat else 0,
        started_at=datetime.now(UTC),
        address=launch.address,
        parent=parent,
    )
    write_record(directory, record)


def open_log(launch: Launch) -> LogWriter:
    """The replica's log takes over descriptors 1 and 2."""
    os.makedirs(launch.log_directory, mode=0o700, exist_ok=True)
    directory = os.open(launch.log_directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return LogWriter(LogFile(directory, f"{launch.order.replica}.log", launch.log_bytes))


def _serve(launch: Launch, main: Main, lifeline: int, writer: LogWriter) -> int:
    if not launch.new_privileges:
        refuse_new_privileges()
    writer.start()
    environ = environment(launch, lifeline)
    os.umask(0o022)
    os.chdir(environ["HOME"] if os.path.isdir(environ["HOME"]) else "/")
    return main(environ, launch.address)


def _copy(folders: Iterable[Path], directory: Path) -> None:
    """What cannot be copied, such as a socket, is left out."""
    import shutil

    for folder in folders:
        with contextlib.suppress(shutil.Error):
            shutil.copytree(folder, directory / folder.name, symlinks=True, dirs_exist_ok=True)


def _complain() -> None:
    """The traceback to the log, and last the one sentence that becomes the replica's visible reason."""
    kind, error, _ = sys.exc_info()
    text = traceback.format_exc() if not isinstance(error, OSError) else ""
    name = kind.__name__ if kind else ""
    os.write(2, f"{text}the replica could not be set up: {error or name}\n".encode("utf-8", "backslashreplace"))
