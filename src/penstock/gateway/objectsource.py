"""A request whose body is an object: its bytes come from the store as fast as the function takes them.

`byreference` opens the object and puts this in the place of the client's exchange. One piece is fetched ahead, so that store
and function work at the same time; no more is ever held.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Protocol

from penstock.core.headers import Field
from penstock.errors import PenstockError
from penstock.gateway.passing import Passing
from penstock.storage.attributes import Attributes
from penstock.storage.errors import ReadBrokenOff, StorageUnavailable
from penstock.wire.exchange import Asking, Listener
from penstock.wire.message import RequestHead

_log = logging.getLogger(__name__)


class Stream(Protocol):
    """An opened object or a range of it (`storage.objects.ObjectStream`)."""

    size: int
    first: int
    last: int

    @property
    def attributes(self) -> Attributes: ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def aclose(self) -> None: ...


def length_of(stream: Stream) -> int:
    """Bytes that the stream will give."""
    return stream.last - stream.first + 1


class FromObject(Passing):
    """The client's exchange, with the object's bytes for its body."""

    def __init__(
        self, client: Asking, request: RequestHead, stream: Stream, failed: Callable[[PenstockError], None]
    ) -> None:
        """`failed` answers the client when the object cannot be read to its end; whoever listened has been told to stop then."""
        super().__init__(client, request)
        self._failed = failed
        self._broken = False
        self._left = length_of(stream)
        self._attached = False
        self._paused = False
        self._wanted = asyncio.Event()
        self._pump = asyncio.get_running_loop().create_task(self._feed(stream))

    @property
    def fault(self) -> int:
        return ReadBrokenOff.status if self._broken else super().fault

    @property
    def body_done(self) -> bool:
        return not self._left

    def attach(self, listener: Listener, raw: bool = False) -> None:
        """Begin to deliver. Nothing is delivered before this returns. The body has a length, so that there is no framing."""
        self.watch(listener)
        self._attached = True
        self._paused = False
        self._wanted.set()

    def take_arrived(self, raw: bool) -> bytes:
        return b""

    def detach(self) -> None:
        super().detach()
        self._attached = False
        self._wanted.clear()

    def pause(self) -> None:
        self._paused = True
        self._wanted.clear()

    def resume(self) -> None:
        self._paused = False
        if self._attached:
            self._wanted.set()

    def respond(self, status: int, fields: Iterable[Field] = (), body: bytes = b"") -> None:
        self._stop()
        super().respond(status, fields, body)

    def end(self) -> None:
        self._stop()
        super().end()

    def abort(self) -> None:
        self._stop()
        super().abort()

    def client_gone(self) -> None:
        self._stop()
        super().client_gone()

    def _stop(self) -> None:
        """Nobody wants the rest."""
        self._attached = False
        self._pump.cancel()

    async def _feed(self, stream: Stream) -> None:
        try:
            await self._wanted.wait()
            async for piece in stream:
                await self._wanted.wait()
                self._deliver(piece)
            if self._left:
                raise StorageUnavailable(f"the object ended {self._left} bytes too early")
        except PenstockError as error:
            self._fail(f"the object could not be read to its end: {error}")
        except Exception:
            _log.exception("an object could not be read to its end")
            self._fail("the object could not be read to its end; see the gateway's log")
        finally:
            await stream.aclose()

    def _deliver(self, piece: bytes) -> None:
        self._left -= len(piece)
        if self._left < 0:
            raise StorageUnavailable("the store sends more of the object than it announced")
        self.body(piece)
        if not self._left:
            self.body_end()

    def _fail(self, text: str) -> None:
        self._attached = False
        self._broken = True
        super().client_gone()  # whoever works on it stops, and answers nobody
        self._failed(ReadBrokenOff(text))
