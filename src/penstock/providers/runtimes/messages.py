"""What the process runtime and the zygote say to each other over a unix stream socket.

Each message is four bytes of length (big-endian) and a MessagePack body. The zygote speaks first (`Hello`); `Launched` and
`Exited` go to every connection, so that a control process that was restarted hears of replicas it did not launch.
"""

from __future__ import annotations

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
    read_only: bool = False
    new_privileges: bool = False

    def __repr__(self) -> str:
        return f"Launch({self.order!r})"


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """First message of the zygote."""

    pid: int
    run_id: str
    sandbox: str
    """How replicas are isolated, or why they are not."""
    replicas: dict[str, int]
    """Pid of each running replica by token."""


class Launched(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The fork has happened."""

    token: str
    pid: int
    started: int


class Exited(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A replica has ended or could not be forked."""

    token: str
    status: int = 0
    """Wait status."""
    error: str = ""
    """Why the fork failed; then there is no status."""


FromZygote = Hello | Launched | Exited

_encode = msgspec.msgpack.Encoder().encode
_decode_launch = msgspec.msgpack.Decoder(Launch).decode
_news: msgspec.msgpack.Decoder[FromZygote] = msgspec.msgpack.Decoder(FromZygote)


def frame(message: Launch | FromZygote) -> bytes:
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


def read_news(body: bytes) -> FromZygote:
    """Raises msgspec.MsgspecError."""
    return _news.decode(body)
