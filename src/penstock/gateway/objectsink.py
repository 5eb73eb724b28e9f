"""A request whose answer becomes an object: the function's bytes go to the store, and the client hears what was stored.

`byreference` puts this in the place of the client's exchange. An answer of status 400 or above goes to the client as it is; one
that does not come to its end, or whose client leaves, leaves nothing in the store.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import NamedTuple, Protocol

from penstock.core.headers import Field
from penstock.errors import PenstockError
from penstock.gateway.headers import is_stream
from penstock.gateway.passing import Passing
from penstock.gateway.refusals import refuse
from penstock.storage.attributes import Attributes, kept
from penstock.storage.reference import ObjectRef
from penstock.wire.exchange import Exchange
from penstock.wire.message import RequestHead
from penstock.wire.timeouts import NEVER

HIGH, LOW = 1 << 20, 256 << 10
"""Bytes that wait for the store at which the function is paused, and goes on again."""

_CUT = (
    "the function's answer was cut before its end; nothing was stored. Its log says whether it failed or exec_timeout was over; "
    "read_timeout ends one that waits for more of its input"
)
_TICK = 0.2
"""Seconds that a relay's deadline may be early or late."""

_ANSWER_FIELD = re.compile(rb"\r\n([^:\r\n]+):[ \t]*([^\r\n]*)")
_TOLD = frozenset(
    {
        b"server-timing",
        b"x-call-id",
        b"x-duration-seconds",
        b"x-pipeline-timings",
        b"x-served-by",
        b"x-start-time",
    }
)
"""What of the function's answer goes into the answer about the object: they speak of the call and not of its bytes."""
_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})

_log = logging.getLogger(__name__)


class Limits(NamedTuple):
    """Seconds, infinite for no limit."""

    run: float
    """For the function's whole answer, once it runs."""
    whole: float
    """For everything: waiting for a slot as well, and the store's last word."""


class Stored(Protocol):
    """What has become an object (`storage.upload.Stored`)."""

    @property
    def etag(self) -> str: ...

    @property
    def size(self) -> int: ...


class Uploading(Protocol):
    """An upload under way (`storage.upload.Upload`)."""

    async def write(self, data: bytes) -> None: ...

    async def finish(self) -> Stored: ...

    async def abort(self) -> None: ...


Begin = Callable[[Attributes], Awaitable[Uploading]]
"""Opens an upload."""


class IntoObject(Passing):
    """The client's exchange, with an upload for its answer."""

    _client: Exchange

    def __init__(
        self,
        client: Exchange,
        request: RequestHead,
        ref: ObjectRef,
        begin: Begin,
        limits: Limits,
        keep: Callable[[asyncio.Task[None]], None],
    ) -> None:
        """`request` is one of HTTP/1.0, so that the answer has no chunks. `keep` is given the task, which must not be forgotten."""
        super().__init__(client, request)
        self._ref = ref
        self._begin = begin
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._limits = limits
        self._keep = keep
        self._deadline = self._begun + limits.whole
        self._answer: _Answer | None = None
        self._storing: asyncio.Task[None] | None = None
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._full = False
        self._complete = False
        self._fault = 0
        self._ready = asyncio.Event()

    # The answer, as whoever relays it sees it.

    @property
    def fault(self) -> int:
        return self._fault

    @property
    def head_sent(self) -> bool:
        return self._answer is not None

    def respond(self, status: int, fields: Iterable[Field] = (), body: bytes = b"") -> None:
        """The gateway's own answer; nothing is stored."""
        self._stop()
        self._client.respond(status, fields, body)

    def send_head(self, data: bytes, close: bool) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        self._answer = answer = _Answer(head)
        if answer.status >= 400:
            self._client.start(answer.status, answer.passed_on(), answer.length, answer.reason)
        else:
            if is_stream(answer.get(b"content-type").encode("latin-1")):
                self._deadline = NEVER
            self._storing = self._loop.create_task(self._store(answer))
            self._keep(self._storing)
        if body:
            self.send(body)

    def send_interim(self, data: bytes) -> None:
        pass  # of an answer that the client will not see

    def send(self, data: bytes) -> None:
        if self._storing is None:
            self._client.write(data)
            return
        self._pieces.append(data)
        self._waiting += len(data)
        self._ready.set()
        if self._waiting > HIGH and not self._full:
            self._full = True
            super().writable(False)

    def send_chunk(self, data: bytes) -> None:
        self.send(data)

    def end(self) -> None:
        self._listener = None
        if self._storing is None:
            self._client.finish()
            return
        self._complete = True
        self._ready.set()

    def abort(self) -> None:
        """The function's answer was cut."""
        self._listener = None
        if self._storing is None:
            self._client.abort()
        elif self._loop.time() - self._begun >= self._limits.run - _TICK:
            self._cut(504, "the function's answer was not complete in time, cut by the gateway; nothing was stored")
        else:
            self._cut(502, _CUT)

    def connection_field(self) -> bytes:
        return b""  # the client's connection has nothing to do with the function's answer

    # The client's side.

    def client_gone(self) -> None:
        self._stop()
        super().client_gone()

    def writable(self, ready: bool) -> None:
        if self._storing is None:
            super().writable(ready)

    def fail(self, error: PenstockError) -> None:
        """Something went wrong that neither the function nor the upload knows of: nothing is stored."""
        if self._storing is None and self._answer is not None:
            self._client.abort()
        else:
            self._refuse(error.status, str(error))

    # The upload.

    def _refuse(self, status: int, text: str) -> None:
        self._stop()
        if not self._client.done:
            refuse(self._client, status, text.encode(), b"", retry=status == HTTPStatus.SERVICE_UNAVAILABLE)

    def _cut(self, status: int, text: str) -> None:
        self._fault = status
        self._refuse(status, text)

    def _stop(self) -> None:
        if self._storing is not None:
            self._storing.cancel()

    async def _store(self, answer: _Answer) -> None:
        """Upload what comes until it is complete, and tell the client. Cancelled when it must not become an object."""
        try:
            async with asyncio.timeout_at(None if self._deadline == NEVER else self._deadline):
                stored = await self._upload(answer.attributes)
        except TimeoutError:
            self._give_up(504, "the object was not stored in time, cut by the gateway")
        except PenstockError as error:
            if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                _log.warning("%s: the object could not be stored: %s", self._ref, error)
            self._give_up(error.status, str(error))
        except Exception:
            _log.exception("storing %s", self._ref)
            self._give_up(500, "internal error; see the gateway's log")
        else:
            self._tell(answer, stored)

    async def _upload(self, attributes: Attributes) -> Stored:
        upload = await self._begin(attributes)
        try:
            while data := await self._next():
                await upload.write(data)
            return await upload.finish()
        except BaseException:
            await upload.abort()
            raise

    async def _next(self) -> bytes:
        """What has come since the last time; empty at the end."""
        while not self._pieces and not self._complete:
            self._ready.clear()
            await self._ready.wait()
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        if self._full:
            self._full = False
            super().writable(True)
        return data

    def _give_up(self, status: int, text: str) -> None:
        self._storing = None
        self._fault = status
        super().client_gone()  # the function is told to stop, unless it has ended
        self._refuse(status, text)

    def _tell(self, answer: _Answer, stored: Stored) -> None:
        about = {
            "bucket": self._ref.bucket,
            "key": self._ref.key,
            "etag": stored.etag,
            "size": stored.size,
            "contentType": answer.attributes.get("Content-Type", ""),
            "durationSeconds": round(self._loop.time() - self._begun, 6),
        }
        told = [(name, value) for name, value in answer.fields if name.lower() in _TOLD]
        self._client.respond(201, [(b"Content-Type", b"application/json"), *told], json.dumps(about).encode())


class _Answer:
    """Head of a function's answer as a relay gives it: status line and field lines without the last CRLF."""

    def __init__(self, head: bytes) -> None:
        line, _, _ = head.partition(b"\r\n")
        self.status = int(line[9:12])
        self.reason = line[13:]
        self.fields: list[Field] = _ANSWER_FIELD.findall(head)
        length = self.get(b"content-length")
        self.length = int(length) if length else None
        self.attributes = kept(
            (name.decode("latin-1"), value.decode("latin-1").rstrip()) for name, value in self.fields
        )
        """What is kept with the object that it becomes."""

    def get(self, name: bytes) -> str:
        """First value of a field, named in lower case; empty where there is none."""
        return next((value.decode("latin-1") for key, value in self.fields if key.lower() == name), "")

    def passed_on(self) -> list[Field]:
        """Fields for a client whose connection is another."""
        return [(name, value) for name, value in self.fields if name.lower() not in _FRAMING]
