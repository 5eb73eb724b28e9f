"""The parent of the processes that serve an imported function: binds the sockets, forks workers, keeps them, drains them.

`app.run` makes one for the modes that import the function. It has no event loop and answers nothing itself: connections that
come while a worker is being replaced wait in the sockets, which stay open here. What a worker does is the app's business,
handed in as `Life`.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable

from penstock.core.duration import format_duration
from penstock.errors import SettingsError
from penstock.watchdog.health import Health
from penstock.watchdog.scoreboard import Scoreboard, Slot
from penstock.watchdog.seat import (
    Descriptors,
    Listeners,
    Seat,
    close_inherited,
    flush_streams,
    life_span,
    reset_signals,
    say,
)
from penstock.watchdog.settings import WatchdogSettings
from penstock.watchdog.signals import ENDING, hangup_counts
from penstock.watchdog.spawn import apply_limits, become_subreaper, describe_exit
from penstock.watchdog.stall import StallClock

Life = Callable[[Seat], int]
"""Serves in a worker until told to stop; returns the worker's exit code."""

BACKOFF_FIRST, BACKOFF_MOST = 0.1, 10.0
"""Seconds before the next start when workers die young one after another; doubled each time up to the second."""
BACKOFF_SERVING = 1.0
"""The most of these seconds when the last of them was ready to serve: its function works, and callers wait."""
YOUNG = 5.0
"""Seconds within which a worker's death counts as young."""
HURRY_GRACE = 2.0
"""Seconds that workers get to end at once, before they are killed."""
GONE_GRACE = 1.0
"""Seconds that a worker gets to end after it has closed its channel."""
STALL_GRACE = 5.0
"""Seconds beyond exec_timeout without a heartbeat, after which a worker is killed: it cannot even time out its own calls."""
WRITTEN = 0.1
"""Seconds for which a changed file must have been left alone before it is imported."""
_GENERATIONS = 20
"""How deep a family of processes that a worker leaves is followed."""
_TICK = 1.0
_RELOAD_TICK = 0.3
"""Seconds between two looks at the clock and, with reload, at the source files."""


class _Worker:
    """One process. `state` is starting, serving, or leaving."""

    __slots__ = (
        "channel",
        "clock",
        "files",
        "generation",
        "leave_by",
        "pid",
        "pidfd",
        "received",
        "since",
        "slot",
        "state",
    )

    def __init__(self, pid: int, channel: socket.socket, slot: Slot, generation: int) -> None:
        self.pid = pid
        self.pidfd = os.pidfd_open(pid)
        self.channel = channel
        self.slot = slot
        self.generation = generation
        self.state = "starting"
        self.leave_by = 0.0
        """When a leaving worker, or one that does not speak to us any more, is killed; 0 for one that stays."""
        self.since = time.monotonic()
        self.received = b""
        self.clock = StallClock(_TICK)
        self.files: dict[str, int] = {}

    def has_ended(self) -> bool:
        """Whether it has ended and nobody has reaped it yet."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def say(self, order: bytes) -> None:
        with contextlib.suppress(OSError):  # it is gone, or full of orders already
            self.channel.send(order + b"\n", socket.MSG_DONTWAIT)

    def close(self) -> None:
        os.close(self.pidfd)
        self.channel.close()


class Parent:
    """Keeps `python_workers` workers alive. `inherited` are descriptors that workers must not hold."""

    def __init__(self, settings: WatchdogSettings, listeners: Listeners, life: Life, inherited: Descriptors) -> None:
        self._settings = settings
        self._listeners = listeners
        self._life = life
        self._inherited = inherited
        self._foreign = frozenset(_children())
        """Children that this process had already, from whoever became the watchdog by exec. Not ours to end."""
        self._imports = settings.python_reload
        # Workers that leave keep their slot until they have ended, while others serve in their place.
        self._board = Scoreboard(2 * settings.python_workers + 2)
        self._free = list(reversed(self._board.slots))
        self._workers: dict[int, _Worker] = {}
        self._strays: set[int] = set()
        """Children of ours that left the process which started them while it lived."""
        self._health = Health(settings)
        self._poll = select.poll()
        self._wake, self._bell = socket.socketpair()
        self._stops = 0
        self._signals = 0
        self._deadline = 0.0
        self._drain_at = 0.0
        self._retry_at = 0.0
        self._backoff = BACKOFF_FIRST
        self._generation = 0
        self._lifeline = -1
        self._ready = False

    def import_in_workers(self, why: str) -> None:
        """Have each worker import the function itself."""
        self._imports = True
        self._log(why)

    def run(self, lifeline: int = -1) -> int:
        """Serve until SIGTERM, SIGINT or the end of `lifeline`; returns the exit code. Raises SettingsError, OSError."""
        become_subreaper()
        self._lifeline = lifeline
        if lifeline >= 0:
            self._poll.register(lifeline, select.POLLIN)
        self._handle_signals()
        gc.collect()
        gc.freeze()
        try:
            while self._workers or not self._stops:
                self._keep_up()
                self._turn()
        finally:
            self._health.refuse()
            self._end_all()
        return 0

    # Events

    def _handle_signals(self) -> None:
        for side in (self._wake, self._bell):
            side.setblocking(False)
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        for number in (*ENDING, signal.SIGHUP) if hangup_counts() else ENDING:
            signal.signal(number, self._asked)
        self._poll.register(self._wake, select.POLLIN)

    def _asked(self, number: int, frame: object) -> None:
        """A handler runs between any two steps of ours; what it wants is done when it is its turn."""
        self._signals += 1

    def _turn(self) -> None:
        """Wait for something and react to it."""
        tick = _RELOAD_TICK if self._settings.python_reload else _TICK
        if self._retry_at:
            tick = min(tick, max(self._retry_at - time.monotonic(), 0.0))
        events = self._poll.poll(int(tick * 1000) + 1)
        for fd, _ in events:
            if fd == self._wake.fileno():
                with contextlib.suppress(BlockingIOError):
                    self._wake.recv(4096)
                self._reap_orphans()
            elif fd == self._lifeline:
                self._poll.unregister(fd)
                self._stop()
            else:
                self._attend(fd)
        while self._signals:
            self._signals -= 1
            self._stop()
        self._look_after()

    def _attend(self, fd: int) -> None:
        for worker in list(self._workers.values()):
            if worker.channel.fileno() == fd:
                self._hear(worker)
            elif worker.pidfd == fd:
                self._ended(worker)

    def _hear(self, worker: _Worker) -> None:
        try:
            data = worker.channel.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # its end follows, unless the function has closed our descriptors or called exec
            self._poll.unregister(worker.channel)
            worker.leave_by = time.monotonic() + GONE_GRACE
            return
        *lines, worker.received = (worker.received + data).split(b"\n")
        for line in lines:
            word, _, rest = line.partition(b" ")
            if word == b"ready":
                self._serving(worker)
            elif word == b"leaving":
                self._log(f"worker {worker.pid} is replaced: {rest.decode('utf-8', 'replace')}")
                self._let_go(worker)
            elif word == b"files":
                worker.files = {path: _changed(path) for path in os.fsdecode(rest).split("\0")}

    def _serving(self, worker: _Worker) -> None:
        if worker.state == "starting":
            worker.state = "serving"
        for other in self._workers.values():
            if other.generation < worker.generation and other.state != "leaving":
                self._let_go(other)
                other.say(b"drain")
        if not self._ready and not self._stops:
            self._ready = True
            self._health.accept()
            self._log(f"workers serve {self._settings.mode} {self._settings.handler!r} on {self._listeners.where}")

    # Keeping

    def _keep_up(self) -> None:
        """Start workers until there are enough."""
        wanted = self._settings.python_workers
        while not self._stops and time.monotonic() >= self._retry_at and self._free:
            current = [one for one in self._workers.values() if self._counts(one)]
            if len(current) >= wanted:
                break
            self._retry_at = 0.0
            self._start()

    def _let_go(self, worker: _Worker) -> None:
        """It is on its way out, for as long as a drain may take."""
        worker.state = "leaving"
        worker.leave_by = time.monotonic() + self._settings.drain_timeout + HURRY_GRACE

    def _counts(self, worker: _Worker) -> bool:
        return worker.state != "leaving" and worker.generation == self._generation

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        slot = self._free.pop()
        slot.heartbeat = 0.0
        slot.inflight = 0
        most = life_span(self._settings.max_requests, self._settings.max_requests_jitter)
        seat = Seat(self._listeners, self._board, slot, theirs, self._imports, most)
        flush_streams()
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            self._free.append(slot)
            self._wait_to_retry(f"cannot fork: {error.strerror}")
            return
        if pid == 0:
            self._become(seat, ours)
        theirs.close()
        worker = _Worker(pid, ours, slot, self._generation)
        self._workers[pid] = worker
        self._poll.register(worker.channel, select.POLLIN)
        self._poll.register(worker.pidfd, select.POLLIN)

    def _become(self, seat: Seat, ours: socket.socket) -> None:
        """In the new process: a worker's whole life."""
        code = 70
        try:
            reset_signals()
            held = [ours.fileno(), self._wake.fileno(), self._bell.fileno(), self._lifeline]
            for worker in self._workers.values():
                held += [worker.channel.fileno(), worker.pidfd]
            for fd in held:
                with contextlib.suppress(OSError):  # there may be no lifeline
                    os.close(fd)
            close_inherited(self._inherited)
            apply_limits(self._settings.limits)
            code = self._life(seat)
        except BaseException as error:
            with contextlib.suppress(BaseException):
                os.write(2, f"a worker ended: {type(error).__name__}: {error}\n".encode("utf-8", "backslashreplace"))
        finally:
            flush_streams()
            os._exit(code)

    def _ended(self, worker: _Worker) -> None:
        _, status = os.waitpid(worker.pid, 0)
        self._end_those_left_by_a_worker()
        for fd in (worker.channel, worker.pidfd):
            with contextlib.suppress(KeyError):  # the channel's end was noticed before
                self._poll.unregister(fd)
        worker.close()
        called, worker.slot.inflight = worker.slot.inflight > 0, 0
        self._free.append(worker.slot)
        del self._workers[worker.pid]
        if self._stops or (worker.state == "leaving" and status == 0):
            return
        lived = time.monotonic() - worker.since
        reason = f"worker {worker.pid} ended: {describe_exit(status)}"
        if lived >= YOUNG:
            self._backoff = BACKOFF_FIRST
        elif called or worker.state == "leaving" or not self._counts(worker):
            # A call that ends its worker must not make others wait: there are never more such starts than calls.
            pass
        elif self._backoff > BACKOFF_FIRST or worker.state == "starting":
            self._wait_to_retry(reason, BACKOFF_MOST if worker.state == "starting" else BACKOFF_SERVING)
            return
        else:
            self._backoff = BACKOFF_FIRST * 2
        self._log(reason)

    def _wait_to_retry(self, reason: str, most: float = BACKOFF_MOST) -> None:
        delay = min(self._backoff, most)
        self._backoff = min(self._backoff * 2, most)
        self._retry_at = time.monotonic() + delay
        self._log(f"{reason}; next start in {format_duration(delay)}")

    def _look_after(self) -> None:
        """What is looked at by the clock: stalled workers, changed files, the end of the time to drain."""
        now = time.monotonic()
        limit = self._settings.exec_timeout + STALL_GRACE
        for worker in self._workers.values():
            still = worker.clock.look(worker.slot.heartbeat, now)
            if self._settings.exec_timeout and still > limit:
                self._log(f"worker {worker.pid} is killed: it has not moved for {still:.0f} s")
                worker.clock = StallClock(_TICK)
                os.kill(worker.pid, signal.SIGKILL)
            elif worker.leave_by and now > worker.leave_by:
                worker.leave_by += HURRY_GRACE
                os.kill(worker.pid, signal.SIGKILL)
        if self._stops:
            if self._drain_at and now >= self._drain_at:
                self._drain()
            if now > self._deadline:
                self._deadline = now + HURRY_GRACE
                for pid in self._workers:
                    os.kill(pid, signal.SIGKILL)
        elif self._settings.python_reload:
            self._look_for_changes()

    def _look_for_changes(self) -> None:
        newest = [one for one in self._workers.values() if one.generation == self._generation]
        changed = [path for one in newest for path, stamp in one.files.items() if _changed(path) != stamp]
        # One that was written in this very moment may not be complete yet.
        if changed and not any(abs(time.time() - _changed(path) / 1e9) < WRITTEN for path in changed):
            self._log(f"{changed[0]} has changed: the function is imported anew")
            for worker in newest:
                worker.files = {}
            self._generation += 1
            self._retry_at = 0.0
            for worker in self._workers.values():
                if worker.state == "starting":  # it has read the old files
                    self._let_go(worker)
                    worker.say(b"drain")

    # Ending

    def _stop(self) -> None:
        """Be unhealthy for `healthcheck_interval`, then drain; the second time, hurry."""
        self._stops += 1
        if self._stops > 1:
            self._drain()
            return
        self._health.refuse()
        interval = self._settings.healthcheck_interval
        self._log(f"SIGTERM: no new connections in {format_duration(interval)}")
        if not interval:
            self._drain()
            return
        self._drain_at = time.monotonic() + interval
        self._deadline = self._drain_at + self._settings.drain_timeout + HURRY_GRACE
        for worker in self._workers.values():
            worker.say(b"retire")

    def _drain(self) -> None:
        self._drain_at = 0.0
        hurry = self._stops > 1
        most = 0.0 if hurry else self._settings.drain_timeout
        self._deadline = time.monotonic() + most + HURRY_GRACE
        for worker in self._workers.values():
            worker.say(b"hurry" if hurry else b"drain")
            if worker.state == "starting":  # it may be busy with an import, and hears nothing
                os.kill(worker.pid, signal.SIGTERM)
        self._listeners.close()

    def _end_all(self) -> None:
        """Kill what is left: workers, and what functions have started and nobody waits for."""
        signal.set_wakeup_fd(-1)
        deadline = time.monotonic() + HURRY_GRACE
        while (children := [pid for pid in _children() if pid not in self._foreign]) and time.monotonic() < deadline:
            for pid in children:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for pid in children:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _reap_orphans(self) -> None:
        """Processes that workers left behind have become ours; as process 1 of a container so have all others."""
        found = {pid for pid in _children() if pid not in self._workers and not _reaped(pid)}
        # Of a worker that has just ended they are ours because of that, and `_ended` is about to end them.
        if any(worker.has_ended() for worker in self._workers.values()):
            found &= self._strays
        self._strays = found

    def _end_those_left_by_a_worker(self) -> None:
        """Kill what has become ours by the end of a worker, and what becomes ours by the end of that: nobody waits for it. What was
        ours before has left its worker on purpose, as daemons do, and may go on."""
        known = {*self._workers, *self._foreign, *self._strays}
        for _ in range(_GENERATIONS):
            left = [pid for pid in _children() if pid not in known]
            if not left:
                break
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            for pid in left:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def _log(self, text: str) -> None:
        say(text)


def bind(settings: WatchdogSettings, listen: str | None) -> Listeners:
    """Sockets for `unix:/path`, or for the port of the settings on all interfaces. Raises SettingsError, OSError."""
    from penstock.wire.server import bound_unix_socket

    if listen is not None:
        if not listen.startswith("unix:"):
            raise SettingsError(f"cannot listen on {listen!r}: it must be unix:/path")
        sock = bound_unix_socket(listen.removeprefix("unix:"), 0o600)
        sock.listen(_BACKLOG)
        return Listeners(listen, (sock,))
    sockets = _bind_everywhere(settings.port)
    metrics: tuple[socket.socket, ...] = ()
    if settings.metrics_port:
        try:
            metrics = _bind_everywhere(settings.metrics_port)
        except OSError as error:
            say(f"no metrics on port {settings.metrics_port}: {error.strerror}; they are at /_/metrics")
    return Listeners(f"port {sockets[0].getsockname()[1]}", sockets, metrics)


_BACKLOG = 4096


def _bind_everywhere(port: int) -> tuple[socket.socket, ...]:
    """All interfaces, IPv6 included where the machine has it. A port of the system's choice is IPv4's alone: there is one number."""
    sockets = [_bound(socket.AF_INET, "0.0.0.0", port)]  # noqa: S104 - a container's only way to be reached
    if port and socket.has_ipv6:
        try:
            sockets.append(_bound(socket.AF_INET6, "::", port))
        except OSError as error:
            if "in use" in str(error):
                sockets[0].close()
                raise
    return tuple(sockets)


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _changed(path: str) -> int:
    """When the file was changed, in ns; 0 when it is not there."""
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _reaped(pid: int) -> bool:
    """Whether a child of ours has ended; it is gone then."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except FileNotFoundError:
        return []
