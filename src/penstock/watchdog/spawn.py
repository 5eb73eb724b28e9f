"""Programs: starting them, hearing of their end, killing all that they left behind.

The modes call `Spawner.spawn`; nothing else in the watchdog makes or waits for processes. A program leads a process group
of its own, its end is heard through a pidfd, and processes that escaped from the group by setsid(2) come back to us as the
subreaper and are swept up.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import errno
import os
import resource
import select
import signal
from collections import deque
from collections.abc import Callable, Mapping

from penstock.errors import PenstockError
from penstock.watchdog.settings import PRIVATE_VARIABLES, ProgramLimits

_PR_SET_CHILD_SUBREAPER = 36
_SWEEP_AFTER = 0.25
"""Seconds between the end of a program and the search for processes it left; also the pause between two searches."""
END_TIMEOUT = 10.0
"""Seconds in which killed programs end, those with much memory on a busy machine too. What they leave behind is found only then."""
_MARK = b"PENSTOCK_INVOCATION"
"""Variable by which a process that left its group is still known as a running program's."""
_DEFAULT_SIGNALS = (
    signal.SIGPIPE,
    signal.SIGXFSZ,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGCHLD,
)
"""Signals that we or our parent may ignore; ignoring survives exec, and a program that ignores SIGPIPE never stops."""
_INHERITED_LIMITS = frozenset({resource.RLIMIT_DATA, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC})
"""Limits that we hold ourselves for the moment of the start, so that the program never runs without them. Processor time is
not among them: ours may be above the limit already, and the program's is counted from its start whenever the limit is set."""


class SpawnFailed(PenstockError):
    """The program could not be started; the message says why."""

    blame = "function"

    def __init__(self, message: str, number: int = 0) -> None:
        super().__init__(message)
        self.number = number


class Child:
    """A running program. `on_exit` is called once with its wait status, after its whole group was killed."""

    __slots__ = ("_pidfd", "_spawner", "mark", "on_exit", "pid")

    def __init__(self, spawner: Spawner, pid: int, mark: bytes, on_exit: Callable[[int], None]) -> None:
        self.pid = pid
        self.mark = mark
        self.on_exit = on_exit
        self._spawner = spawner
        self._pidfd = os.pidfd_open(pid)
        spawner.loop.add_reader(self._pidfd, self._exited)

    def has_ended(self) -> bool:
        """Whether it has ended, even if `on_exit` is still to come. Asked of the kernel (1 µs)."""
        if self._pidfd < 0:
            return True
        poller = select.poll()
        poller.register(self._pidfd, select.POLLIN)
        return bool(poller.poll(0))

    def kill(self) -> None:
        """SIGKILL to the program and its group; `on_exit` follows."""
        self.send(signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """A signal to the program and its group, if it still runs."""
        if self._pidfd >= 0:
            _signal_group(self.pid, number)
            signal.pidfd_send_signal(self._pidfd, number)  # it may have moved to another group

    def notify(self, number: int) -> None:
        """A signal to the program alone, if it still runs: what it makes of it is its own business."""
        if self._pidfd >= 0:
            signal.pidfd_send_signal(self._pidfd, number)

    def _exited(self) -> None:
        self._spawner.loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        _signal_group(self.pid, signal.SIGKILL)  # before the wait, while the number is still this program's
        _, status = os.waitpid(self.pid, 0)
        self._spawner.ended(self)
        self.on_exit(status)


class Spawner:
    """Starts one program again and again. Made once by the watchdog, inside its running loop."""

    def __init__(
        self, command: str, environ: Mapping[str, str], limits: ProgramLimits, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.loop = loop
        self.running: dict[int, Child] = {}
        self.environment = program_environment(environ)
        self._argv = [os.fsencode(word) for word in command.split(" ")]
        self._search = self.environment.get(b"PATH", os.fsencode(os.defpath))
        self._path = b""
        self._limits = _limit_table(limits)
        self._foreign = frozenset(_children())
        """Children that this process had already, from whoever became the watchdog by exec. Not ours to judge."""
        self._serial = 0
        self._prefix = b"%d." % os.getpid()
        self._sweeping: asyncio.TimerHandle | None = None
        self._queue: deque[Callable[[], None]] = deque()
        self._turning = False
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    @property
    def null(self) -> int:
        """A descriptor of /dev/null, for a stdin or stdout that nobody uses."""
        return self._null

    def close(self) -> None:
        """Give back what the spawner holds; programs are ended by `end_all`."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        if self._null >= 0:
            os.close(self._null)
            self._null = -1

    def enqueue(self, start: Callable[[], None]) -> None:
        """Call `start`, which spawns, now or in its turn: one program in each turn of the loop.

        A start keeps the loop for about a millisecond. A hundred in a row would keep answers, and on uvloop, which accepts
        one connection in each turn, new clients waiting for all of them.
        """
        if self._turning:
            self._queue.append(start)
        else:
            self._turning = True
            self.loop.call_soon(self._turn)
            start()

    def spawn(
        self, variables: Mapping[bytes, bytes], fds: tuple[int, int, int], on_exit: Callable[[int], None]
    ) -> Child:
        """Start the program with `variables` added to its environment and `fds` as its stdin, stdout, stderr.

        The caller keeps and closes `fds`. Raises SpawnFailed.
        """
        self._serial += 1
        mark = self._prefix + b"%d" % self._serial
        environment = {**self.environment, **variables, _MARK: mark}
        try:
            pid = self._start(environment, fds)
        except OSError as error:
            raise self._failure(error) from error
        try:
            self._pin_limits(pid)
            child = Child(self, pid, mark, on_exit)
        except OSError as error:
            _signal_group(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise self._failure(error) from error
        self.running[pid] = child
        return child

    def ended(self, child: Child) -> None:
        """For Child: its process is reaped."""
        del self.running[child.pid]
        if self._sweeping is None and self._null >= 0:
            self._sweeping = self.loop.call_later(_SWEEP_AFTER, self._sweep_later)

    def reap(self) -> None:
        """Reap children of ours that have ended and are no running program: orphans that came to us."""
        for pid in _children():
            if pid not in self.running and pid not in self._foreign:
                _reap(pid)

    def sweep(self) -> int:
        """Reap and kill descendants of ours that belong to no running program. Returns how many were still alive."""
        alive = 0
        for pid in _children():
            if pid in self.running or pid in self._foreign or _reap(pid) or self._is_needed(pid):
                continue
            alive += 1
            with contextlib.suppress(OSError):
                group = os.getpgid(pid)
                if group not in self.running and group != os.getpgrp():
                    os.killpg(group, signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return alive

    async def end_all(self, timeout: float = END_TIMEOUT) -> None:
        """Kill every program and stray and reap them, for at most `timeout` seconds (one in the kernel cannot be killed)."""
        deadline = self.loop.time() + timeout
        for child in list(self.running.values()):
            child.kill()
        # Nothing announces the death of a stray, so this looks again and again.
        while (self.running or self.sweep()) and self.loop.time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    def _turn(self) -> None:
        if self._queue:
            self.loop.call_soon(self._turn)
            self._queue.popleft()()
        else:
            self._turning = False

    def _sweep_later(self) -> None:
        self._sweeping = None
        if self.sweep() and self._null >= 0:
            self._sweeping = self.loop.call_later(_SWEEP_AFTER, self._sweep_later)

    def _is_needed(self, pid: int) -> bool:
        """Whether a process that came to us belongs to a running program, by its group or by the mark it inherited."""
        try:
            if os.getpgid(pid) in self.running:
                return True
            with open(f"/proc/{pid}/environ", "rb") as file:
                variables = file.read().split(b"\0")
        except OSError:
            return bool(self.running)
        mark = next((entry[len(_MARK) + 1 :] for entry in variables if entry.startswith(_MARK + b"=")), b"")
        if mark:
            return any(child.mark == mark for child in self.running.values())
        # Nothing says whose it is. As process 1 of a container we also inherit what others started there.
        return os.getpid() == 1 or bool(self.running)

    def _start(self, environment: Mapping[bytes, bytes], fds: tuple[int, int, int]) -> int:
        if not self._path:
            self._path = find_program(self._argv[0], self._search)
        held = [(which, limit) for which, limit in self._limits.items() if which in _INHERITED_LIMITS]
        if not held:
            return self._posix_spawn(environment, fds)
        own = [(which, resource.getrlimit(which)) for which, _ in held]
        try:
            for (which, limit), (_, (_, hard)) in zip(held, own, strict=True):
                resource.setrlimit(which, (_lower(limit, hard), hard))
            return self._posix_spawn(environment, fds)
        except (OSError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno not in (errno.ENOMEM, errno.EAGAIN):
                raise
        finally:
            for which, limits in own:
                resource.setrlimit(which, limits)
        # A limit is below what we, or our user's processes, already use; it can only be set on the program once it runs.
        return self._posix_spawn(environment, fds)

    def _posix_spawn(self, environment: Mapping[bytes, bytes], fds: tuple[int, int, int]) -> int:
        actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)]
        try:
            return os.posix_spawn(
                self._path,
                self._argv,
                environment,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=_DEFAULT_SIGNALS,
            )
        except FileNotFoundError:
            self._path = b""  # it may have moved; look again next time
            raise

    def _pin_limits(self, pid: int) -> None:
        """Make the limits hard, so that the program cannot raise them. One that has already ended needs none."""
        with contextlib.suppress(ProcessLookupError):
            for which, limit in self._limits.items():
                value = _lower(limit, resource.prlimit(pid, which)[1])
                resource.prlimit(pid, which, (value, value))

    def _failure(self, error: OSError) -> SpawnFailed:
        name = os.fsdecode(self._argv[0])
        if isinstance(error, ProgramMissing):
            return SpawnFailed(str(error), errno.ENOENT)
        reason = os.strerror(error.errno) if error.errno else str(error)
        if error.errno == errno.ENOEXEC:
            reason = "it is neither a binary for this machine nor a script that begins with #!"
        return SpawnFailed(f"program {name!r} cannot be started: {reason}", error.errno or 0)


class ProgramMissing(FileNotFoundError):
    """No executable of that name."""


def find_program(name: bytes, search: bytes) -> bytes:
    """Path of the program `name`, looked up in the directories `search` unless it holds a slash. Raises ProgramMissing."""
    shown = os.fsdecode(name)
    if b"/" in name:
        if not os.path.exists(name):
            raise ProgramMissing(f"program {shown!r} does not exist")
        return name
    for directory in search.split(b":"):
        path = os.path.join(directory or b".", name)
        if name and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise ProgramMissing(f"program {shown!r} was not found in PATH={os.fsdecode(search)}")


def program_environment(environ: Mapping[str, str]) -> dict[bytes, bytes]:
    """The watchdog's environment as programs get it: without the watchdog's own variables."""
    return {os.fsencode(name): os.fsencode(value) for name, value in environ.items() if name not in PRIVATE_VARIABLES}


def become_subreaper() -> None:
    """Have orphaned descendants given to this process instead of init (prctl(2)). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def apply_limits(limits: ProgramLimits) -> None:
    """Hold this process to the limits of programs, for one that has become a program itself. Raises OSError."""
    for which, limit in _limit_table(limits).items():
        value = _lower(limit, resource.getrlimit(which)[1])
        resource.setrlimit(which, (value, value))


def describe_exit(status: int) -> str:
    """`exit status 3`, `signal: killed`, `signal: aborted (core dumped)` of a wait status, as the original spells them."""
    if os.WIFSIGNALED(status):
        name = (signal.strsignal(os.WTERMSIG(status)) or str(os.WTERMSIG(status))).lower()
        return f"signal: {name}" + (" (core dumped)" if os.WCOREDUMP(status) else "")
    return f"exit status {os.WEXITSTATUS(status)}"


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # empty, or only programs of another user are left
        os.killpg(group, number)


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:
        return []  # a kernel without CONFIG_PROC_CHILDREN: strays are then init's when we end


def _reap(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _lower(limit: int, hard: int) -> int:
    return limit if hard == resource.RLIM_INFINITY else min(limit, hard)


def _limit_table(limits: ProgramLimits) -> dict[int, int]:
    table = {
        resource.RLIMIT_DATA: limits.memory,
        resource.RLIMIT_CPU: limits.cpu,
        resource.RLIMIT_NOFILE: limits.files,
        resource.RLIMIT_NPROC: limits.processes,
    }
    return {which: limit for which, limit in table.items() if limit}
