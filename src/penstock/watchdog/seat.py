"""A worker's side of the connection to its parent: heartbeats, the order to drain, and leaving of its own accord.

The app makes one `Attendance` in each worker's loop. The parent, `workers.py`, is at the other end of the channel; the messages
are lines of text: `ready`, `leaving REASON` and `files A\\0B` go up, `retire`, `drain` and `hurry` come down, and the end of the
stream is the parent's death.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.watchdog.logs import escape
from penstock.watchdog.scoreboard import Scoreboard, Slot

HEARTBEAT = 0.5
"""Seconds between two heartbeats."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Bound sockets, which the parent keeps open while workers come and go. `where` says in words what they listen on."""

    where: str
    sockets: tuple[socket.socket, ...]
    metrics: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        for sock in (*self.sockets, *self.metrics):
            sock.close()


@dataclass(frozen=True, slots=True)
class Seat:
    """What a worker is given by its parent."""

    listeners: Listeners
    board: Scoreboard
    slot: Slot
    channel: socket.socket
    imports: bool = False
    """Whether this worker imports the function itself."""
    most: int = 0
    """Requests after which it leaves; 0 for no limit."""


@dataclass(slots=True)
class Attendance:
    """A worker's presence. `stop` is set when it is to drain, `hurry` as well when it is to end at once."""

    seat: Seat
    loop: asyncio.AbstractEventLoop
    stop: asyncio.Event
    hurry: asyncio.Event
    retire: Callable[[], None] = lambda: None
    """What makes the worker's health bad while it serves on."""
    leaving: bool = False
    _served: int = 0
    _received: bytes = b""
    _beating: asyncio.TimerHandle | None = field(default=None)

    def begin(self) -> None:
        self.seat.channel.setblocking(False)
        self.loop.add_reader(self.seat.channel, self._hear)
        self._beat()

    def ready(self, files: list[str]) -> None:
        """Requests are served from now on. `files`: sources to watch, where the function is reloaded."""
        if files:
            self._say("files " + "\0".join(files))
        self._say("ready")

    def served(self) -> None:
        """One more request has been answered."""
        self._served += 1
        if self._served == self.seat.most:
            self.leave(f"it has served {self._served} requests")

    def leave(self, reason: str) -> None:
        """Drain and end, while the parent starts another worker."""
        if not self.leaving:
            self.leaving = True
            self._say(f"leaving {' '.join(reason.split())}")
            self.stop.set()

    def end(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            self._beating = None
        self.loop.remove_reader(self.seat.channel)

    def _beat(self) -> None:
        self.seat.slot.heartbeat = time.monotonic()
        self._beating = self.loop.call_later(HEARTBEAT, self._beat)

    def _hear(self) -> None:
        try:
            data = self.seat.channel.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.loop.remove_reader(self.seat.channel)
            self._hurry()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            if line == b"drain":
                self.leaving = True
                self.stop.set()
            elif line == b"retire":
                self.retire()
            elif line == b"hurry":
                self._hurry()

    def _hurry(self) -> None:
        self.stop.set()
        self.hurry.set()

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # the parent is gone, which the reader notices too
            self.seat.channel.setblocking(True)
            self.seat.channel.sendall(text.encode("utf-8", "surrogateescape") + b"\n")
            self.seat.channel.setblocking(False)


def keep_from_children(seat: Seat) -> None:
    """In a worker: a process that the function forks must not hold its connections, whose ends clients would not notice then, nor
    the channel, whose end its parent looks for. Programs that it starts do not get them anyway."""
    names = {_place(sock) for sock in (*seat.listeners.sockets, *seat.listeners.metrics)}
    channel = seat.channel.fileno()
    done = False

    def let_go() -> None:
        nonlocal done
        if done:
            return  # the child of a child
        done = True
        os.close(channel)
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
                if _place_of(int(name)) in names:
                    os.close(int(name))

    os.register_at_fork(after_in_child=let_go)


def _place_of(fd: int) -> str | int:
    """As `_place`; empty when it is not a socket. Raises OSError."""
    if not stat.S_ISSOCK(os.fstat(fd).st_mode):
        return ""
    sock = socket.socket(fileno=fd)
    try:
        return _place(sock)
    finally:
        sock.detach()


def _place(sock: socket.socket) -> str | int:
    """The path or the port that it listens on; a connection that was accepted there has the same."""
    name = sock.getsockname()
    return int(name[1]) if isinstance(name, tuple) else str(name)


def say(text: str) -> None:
    """A line of the watchdog's own in the log, from a process that has no loop."""
    stamp = time.strftime("%Y/%m/%d %H:%M:%S ").encode()
    with contextlib.suppress(OSError):
        os.write(2, stamp + escape(text.encode("utf-8", "surrogateescape")) + b"\n")


def life_span(most: int, jitter: int) -> int:
    """Requests after which a worker leaves: `most`, give or take `jitter`; 0 when there is no limit."""
    spread = int.from_bytes(os.urandom(4), "big") % (2 * jitter + 1) - jitter
    return max(most + spread, 1) if most else 0


def reset_signals() -> None:
    """In a new worker: the parent's handlers are not ours. An interrupt from a terminal is for the parent to pass on."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def flush_streams() -> None:
    """Write out what the function has printed; a process that ends by `_exit` would lose it."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()


Descriptors = dict[int, tuple[int, int]]
"""Open descriptors and what is behind them: device and inode."""


def open_descriptors() -> Descriptors:
    """What this process has open, but for 0, 1 and 2."""
    found: Descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
            if int(name) > 2:
                found[int(name)] = _identity(int(name))
    return found


def close_inherited(descriptors: Descriptors) -> None:
    """Close those that are still what they were; the function may have the number of one that was closed."""
    for fd, identity in descriptors.items():
        with contextlib.suppress(OSError):
            if _identity(fd) == identity:
                os.close(fd)


def _identity(fd: int) -> tuple[int, int]:
    found = os.fstat(fd)
    return found.st_dev, found.st_ino
