"""What the process runtime and the zygote, and the zygote and its warmed parents, say to each other over unix stream sockets.

Each message is four bytes of length (big-endian) and a MessagePack body. To the runtime the zygote speaks first (`Hello`); all
news go to every connection, so that a control process that was restarted hears of replicas it did not launch.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.providers.runtimes.base import Order

MAX_MESSAGE = 64 << 20
"""Bytes; a longer length prefix means that the peer speaks something else."""


class Launch(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Fork a replica. Paths are absolute."""

    order: Order
    run_id: str
    directory: str
    """The replica's own, to be made."""
    address: str
    log_directory: str
    log_bytes: int
    environ: dict[str, str]
    hide: tuple[str, ...] = ()
    """Directories of ours that the function must not see."""
    keep: tuple[str, ...] = ()
    """Paths that the function's own specification names."""
    show: tuple[str, ...] = ()
    """Directories inside the hidden ones that it may read all the same."""
    read_only: bool = False
    new_privileges: bool = False
    alias: str = ""
    """Path of the parent's directory, at which a replica forked from it sees its own as well."""

    def __repr__(self) -> str:
        return f"Launch({self.order!r})"


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Give up a launch that waits for an import."""

    token: str


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A function was deleted: nothing warm is kept of it."""

    key: str
    """`name.namespace`."""


class Warmed(msgspec.Struct, frozen=True, kw_only=True):
    """A living warmed parent."""

    pid: int
    key: str
    """`name.namespace` of its function."""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """First message of the zygote."""

    pid: int
    run_id: str
    sandbox: str
    """How replicas are isolated, or why they are not."""
    replicas: dict[str, int]
    """Pid of each running replica by token."""
    parents: dict[str, Warmed] = {}
    """Warmed parents by token."""


class Launched(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The fork has happened."""

    token: str
    pid: int
    started: int
    parent: str = ""
    """Token of the warmed parent that it was forked from."""
    failure: str = ""
    """Why the import has failed: then the replica does nothing but tell so."""


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replica has ended or could not be forked."""

    token: str
    status: int = 0
    """Wait status."""
    error: str = ""
    """Why the fork failed; then there is no status."""


class Importing(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A launch waits until a warmed parent has imported the function."""

    token: str
    handler: str


class ParentStarted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """There is one more warmed parent. Its end is an `Exited` with its token."""

    token: str
    parent: Warmed


class Imported(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A parent to the zygote: the import is over."""

    outcome: Literal["warm", "failed", "alone"]
    """`failed`: what it forks are replicas that tell why. `alone`: it cannot be forked, each replica has to import."""
    note: str = ""
    """Why `alone`, a line for the log; or why `failed`, with a traceback."""


class Forked(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A parent to the zygote: this process becomes the replica. Sent before it is the zygote's child."""

    token: str
    pid: int


class NotForked(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A parent to the zygote: there is no replica."""

    token: str


FromZygote = Hello | Launched | Exited | Importing | ParentStarted
ToZygote = Launch | Cancel | Forget
FromParent = Imported | Forked | NotForked

_encode = msgspec.msgpack.Encoder().encode
_decode_launch = msgspec.msgpack.Decoder(Launch).decode
_news: msgspec.msgpack.Decoder[FromZygote] = msgspec.msgpack.Decoder(FromZygote)
_requests: msgspec.msgpack.Decoder[ToZygote] = msgspec.msgpack.Decoder(ToZygote)
_reports: msgspec.msgpack.Decoder[FromParent] = msgspec.msgpack.Decoder(FromParent)


def frame(message: ToZygote | FromZygote | FromParent) -> bytes:
    body = _encode(message)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Cuts a byte stream into message bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Bodies complete after `data`. Raises ValueError for a length that nobody sends."""
        self._buffer += data
        bodies = []
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > MAX_MESSAGE:
                raise ValueError(f"a message of {length} bytes")
            if len(self._buffer) < 4 + length:
                break
            bodies.append(bytes(self._buffer[4 : 4 + length]))
            del self._buffer[: 4 + length]
        return bodies


def read_launch(body: bytes) -> Launch:
    """Raises msgspec.MsgspecError."""
    return _decode_launch(body)


def read_request(body: bytes) -> ToZygote:
    """Raises msgspec.MsgspecError."""
    return _requests.decode(body)


def read_report(body: bytes) -> FromParent:
    """Raises msgspec.MsgspecError."""
    return _reports.decode(body)


def read_news(body: bytes) -> FromZygote:
    """Raises msgspec.MsgspecError."""
    return _news.decode(body)
