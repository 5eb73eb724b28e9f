"""Between two watchdogs of one machine: the pipe of a program's output, handed to the stage of a pipeline whose input it is.

The gateway gives each joint of a pipeline a key that nobody can guess, and tells it to the stages on both sides. Once a body has
proved large, the mode `streaming` of the stage behind listens under the joint's name (`Inlet`), and that of the stage before sends
its pipe there, with the number of bytes that have gone by way of the gateway (`Outlet`). The request itself stays under way and
tells how the stage before has ended; where nobody listens (another machine, another mode) all bytes go by way of the gateway.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import functools
import os
import re
import socket
import stat

from penstock.watchdog.pipemover import PipeMover
from penstock.watchdog.pipes import PipeReader, PipeWriter
from penstock.wire.exchange import Exchange
from penstock.wire.message import RequestHead

LISTEN_FROM = 64 << 10
"""Bytes of a body after which a stage listens for the pipe that the rest is in."""
HAND_OVER_FROM = 256 << 10
"""Bytes of an answer after which it is tried to hand over the rest; then again at each doubling, since those bytes may still be
on their way to the other side."""

_KEY = re.compile(rb"[0-9a-f]{32}\r\n")
_POSITION = 8
"""Bytes of the number that comes with a pipe, the most significant first."""


def joint_before(request: RequestHead) -> bytes:
    """The key of the joint that the request's body comes through; empty where the gateway named none."""
    return _key(request, b"X-Pipeline-In: ")


def joint_behind(request: RequestHead) -> bytes:
    """The key of the joint that the answer goes through; empty where the gateway named none."""
    return _key(request, b"X-Pipeline-Out: ")


class Outlet:
    """The joint behind a stage. Holds the pipe that it has handed over as well, so that the program does not lose its reader
    before the call is over."""

    __slots__ = ("_fd", "_key", "_next")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._next = HAND_OVER_FROM
        self._fd = -1

    def hand_over(self, reader: PipeReader, position: int) -> bool:
        """Send the reader's pipe to the stage behind if that listens, and take it from the reader; False when the reader has to
        go on. `position`: bytes of the answer that went by way of the gateway and come before those in the pipe."""
        if position < self._next:
            return False
        self._next = 2 * position
        if not _send(self._key, reader.fileno(), position):
            return False
        self._fd = reader.release()
        return True

    def close(self) -> None:
        """The call is over: let go of the pipe."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Inlet:
    """The joint before a stage: writes the body to the program (`feed`) as a `PipeWriter` does, until the pipe with the rest of
    it comes."""

    __slots__ = (
        "_ending",
        "_exchange",
        "_key",
        "_loop",
        "_mover",
        "_pipe",
        "_position",
        "_received",
        "_socket",
        "_writer",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, feed: int, exchange: Exchange, key: bytes) -> None:
        self._loop = loop
        self._exchange = exchange
        self._key = key
        self._writer = PipeWriter(loop, feed, exchange.pause, self._room)
        self._mover: PipeMover | None = None
        self._socket: socket.socket | None = None
        self._pipe = -1
        """The pipe that came, until it is its turn."""
        self._position = 0
        self._received = 0
        self._ending = False

    def write(self, data: bytes) -> None:
        """A piece of the body that came by way of the gateway. Those after the pipe was taken are nobody's: discarded."""
        if self._mover is not None:
            return
        before = self._received
        self._received += len(data)
        self._writer.write(data)
        if before < LISTEN_FROM <= self._received:
            self._listen()
        elif self._pipe >= 0:
            self._go_over()

    def end(self) -> None:
        """All of the body is written, or is in the pipe."""
        self._ending = True
        self._listen_no_more()
        if self._received < self._position:
            self._drop_pipe()  # its position was a lie
        if self._mover is not None:
            self._mover.end()
        elif self._pipe < 0:
            self._writer.end()

    def stop(self) -> None:
        """The program has ended: the rest is discarded."""
        self._writer.stop()
        if self._mover is not None:
            self._mover.stop()

    def close(self) -> None:
        """Stop at once."""
        self._listen_no_more()
        self._writer.close()
        if self._mover is not None:
            self._mover.close()
        self._drop_pipe()

    def _drop_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _room(self) -> None:
        self._exchange.resume()
        if self._pipe >= 0:
            self._go_over()

    def _go_over(self) -> None:
        """Take the pipe, if all that comes before it was written."""
        if self._received < self._position or self._writer.waiting:
            return
        pipe, self._pipe = self._pipe, -1
        self._exchange.excuse_body()
        self._mover = PipeMover(self._loop, pipe, self._writer.release())
        if self._ending:
            self._mover.end()

    def _listen(self) -> None:
        if not can_splice():
            return
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            listening.bind(_name(self._key))
        except OSError:  # no such names here, or it is taken: by way of the gateway it goes as well
            listening.close()
            return
        self._socket = listening
        self._loop.add_reader(listening.fileno(), self._heard)

    def _listen_no_more(self) -> None:
        """What was sent and not taken yet is let go with the socket."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def _heard(self) -> None:
        if self._socket is None:
            return
        data, fds, _, _ = socket.recv_fds(self._socket, _POSITION + 1, 1, socket.MSG_CMSG_CLOEXEC)
        position = int.from_bytes(data, "big")
        if len(data) == _POSITION and position >= self._received and len(fds) == 1 and _is_source(fds[0]):
            self._listen_no_more()
            self._pipe, self._position = fds[0], position
            self._go_over()
            return
        for fd in fds:
            os.close(fd)


def _is_source(fd: int) -> bool:
    """Whether it is the reading end of a pipe."""
    readable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_WRONLY
    return readable and stat.S_ISFIFO(os.fstat(fd).st_mode)


@functools.cache
def can_splice() -> bool:
    """Whether the system moves bytes from pipe to pipe for us; sandboxes may refuse it."""
    source, into = os.pipe()
    out, feed = os.pipe()
    try:
        os.write(into, b"x")
        return os.splice(source, feed, 1) == 1
    except OSError:
        return False
    finally:
        for fd in (source, into, out, feed):
            os.close(fd)


def _send(key: bytes, fd: int, position: int) -> bool:
    """Send a descriptor to whoever listens at the joint; False when nobody does."""
    rights = socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            sender.sendmsg([position.to_bytes(_POSITION, "big")], [rights], 0, _name(key))
        except OSError:  # nobody listens, mostly; whatever else it was, the gateway is still there
            return False
    return True


def _name(key: bytes) -> bytes:
    """In Linux's abstract namespace: there is no file to find, to protect or to leave behind (unix(7))."""
    return b"\0penstock-joint-" + key


def _key(request: RequestHead, field: bytes) -> bytes:
    """The last field of the name, since the gateway writes its own last and passes on what a client sent."""
    fields = request.raw_fields
    at = fields.rfind(b"\n" + field)
    match = _KEY.match(fields, at + 1 + len(field)) if at >= 0 else None
    return match[0][:-2] if match else b""
