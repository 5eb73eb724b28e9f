"""Requests whose body, or whose answer, is an object of a store (`X-Input-Object`, `X-Output-Object`).

The invoker hands them over. Everything is checked before anything runs; then the invoker gets them back as exchanges whose
bytes come from the store (`objectsource`) or go there (`objectsink`), and answers them as it does all others.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Protocol

from penstock.errors import InvalidInput, NotFound, PenstockError, Unauthorized
from penstock.gateway.byteranges import ByteRange
from penstock.gateway.callers import Callers
from penstock.gateway.objectrequest import (
    Wanted,
    asked_stages,
    check_own_lists,
    hops_after,
    key_of,
    limits_of,
    named_fields,
    read_wanted,
    seen_request,
)
from penstock.gateway.objectsink import Begin, IntoObject, Limits, Uploading
from penstock.gateway.objectsource import FromObject, Stream
from penstock.gateway.passing import Passing
from penstock.gateway.pipelineplan import find_cast
from penstock.gateway.refusals import refuse
from penstock.gateway.routes import RouteTable
from penstock.storage.access import check_bucket
from penstock.storage.attributes import HOPS, Attributes
from penstock.storage.errors import RangeNotSatisfiable, StorageOff
from penstock.storage.reference import ObjectRef
from penstock.wire.exchange import Asking, Exchange
from penstock.wire.timeouts import NEVER

_OFF = (
    "object storage is not set up here: PENSTOCK_S3_BUCKETS names the buckets that requests may use, "
    "PENSTOCK_S3_ENDPOINT the store"
)
GIVING_UP = 15.0
"""Seconds that a worker which ends waits for the store to remove the parts of uploads that are not over; the supervisor waits longer."""

_CHALLENGE = b'WWW-Authenticate: Basic realm="Restricted"\r\n'

_log = logging.getLogger(__name__)


class Head(Protocol):
    """What is known of an object without reading it (`storage.objects.ObjectHead`)."""

    @property
    def size(self) -> int: ...


class Objects(Protocol):
    """The store (`storage.objects.ObjectStore`)."""

    async def head(self, ref: ObjectRef) -> Head: ...

    async def read(self, ref: ObjectRef, first: int = 0, last: int | None = None) -> Stream: ...

    async def write(self, ref: ObjectRef, attributes: Attributes = ..., if_none_match: bool = False) -> Uploading: ...


class ByReference:
    """Begins such requests. One per worker; needs a running event loop."""

    def __init__(
        self, routes: RouteTable, callers: Callers, buckets: frozenset[str], open_store: Callable[[], Objects]
    ) -> None:
        """`buckets`: those that the settings allow; none: storage is off. `open_store` is called once, in a thread."""
        self._routes = routes
        self._callers = callers
        self._buckets = buckets
        self._open_store = open_store
        self._opened: asyncio.Task[Objects] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, exchange: Asking, invoke: Callable[[Asking], None]) -> None:
        """Check the request, and have `invoke` answer what it becomes."""
        if not self._buckets:
            refuse(exchange, StorageOff.status, _OFF.encode(), b"")
            return
        if not isinstance(exchange, Exchange):
            raise TypeError("only a client's own exchange names objects")
        task = asyncio.get_running_loop().create_task(self._begin(exchange, invoke))
        self._keep(task)
        exchange.watch(_Leaving(task))

    async def prepare(self) -> None:
        """Have everything at hand before the first request. What fails is told again to each request that needs it."""
        if not self._buckets:
            return
        try:
            await self._store()
            await self._callers.prepare()
        except PenstockError as error:
            _log.warning("object storage: %s", error)

    async def close(self, patience: float = GIVING_UP) -> None:
        """Wait, once every client is served or cut, until the uploads that are given up have left nothing in the store."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=patience)
            if late:
                _log.warning("%d uploads could not be given up in time: the store may keep parts of them", len(late))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _begin(self, exchange: Exchange, invoke: Callable[[Asking], None]) -> None:
        try:
            asking = await self._checked(exchange)
        except PenstockError as error:
            refuse(exchange, error.status, str(error).encode(), _own_lines(error), retry=error.status == 503)
        except TimeoutError:
            refuse(exchange, 504, b"the object could not be opened in time, cut by the gateway", b"")
        except Exception:
            _log.exception("a request by reference could not be begun")
            refuse(exchange, 500, b"internal error; see the gateway's log", b"")
        else:
            exchange.detach()
            invoke(asking)

    async def _checked(self, exchange: Exchange) -> Asking:
        """What stands in the place of the client's exchange, once nothing speaks against it. Raises PenstockError."""
        fields = named_fields(exchange.request)
        asked = asked_stages(exchange.request)
        await self._callers.check(fields, key_of(asked))
        wanted = read_wanted(exchange.request, fields)
        for ref in (wanted.source, wanted.sink):
            if ref is not None:
                check_bucket(ref, self._buckets)
        try:
            cast = find_cast(asked, self._routes.find)
        except (NotFound, InvalidInput):  # whoever is asked has the words for it, and nothing to read or write
            return Passing(exchange, seen_request(exchange.request, None, False))
        check_own_lists(wanted, cast, asked)
        limits = limits_of(cast, asked, fields)
        async with asyncio.timeout(None if limits.whole == NEVER else limits.whole):
            store = await self._store()
            stream = await _opened(store, wanted.source, wanted.part) if wanted.source is not None else None
        try:
            hops = hops_after(fields, stream) if wanted.sink is not None else 0
        except PenstockError:
            if stream is not None:
                await stream.aclose()
            raise
        begin = wanted.sink and functools.partial(_begin_upload, store, wanted.sink, wanted.new, hops)
        return self._assembled(exchange, wanted, stream, begin, limits)

    def _assembled(
        self, exchange: Exchange, wanted: Wanted, stream: Stream | None, begin: Begin | None, limits: Limits
    ) -> Asking:
        """The client's exchange with the store at one or both of its ends."""
        seen = seen_request(exchange.request, stream, wanted.sink is not None)
        asking: Asking = exchange
        failed: Callable[[PenstockError], None] = functools.partial(_fail, exchange)
        if wanted.sink is not None and begin is not None:
            sink = IntoObject(exchange, seen, wanted.sink, begin, limits, self._keep)
            asking, failed = sink, sink.fail
        if wanted.source is not None and stream is not None:
            asking = FromObject(asking, seen, stream, functools.partial(_broken_off, wanted.source, failed))
        return asking

    async def _store(self) -> Objects:
        """The store, opened in a thread at the first use: its imports take a while."""
        if self._opened is None:
            self._opened = asyncio.get_running_loop().create_task(asyncio.to_thread(self._open_store))
        try:
            return await asyncio.shield(self._opened)
        except Exception:
            self._opened = None  # what was missing may be there the next time
            raise


class _Leaving:
    """Hears of a client that leaves while its request is checked."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self._task = task

    def client_gone(self) -> None:
        self._task.cancel()

    def body(self, data: bytes) -> None:
        raise AssertionError("a request that is being checked takes no body")

    def body_end(self) -> None:
        raise AssertionError("a request that is being checked takes no body")

    def writable(self, ready: bool) -> None:
        pass  # nothing is written while it is checked


async def _begin_upload(store: Objects, ref: ObjectRef, new: bool, hops: int, attributes: Attributes) -> Uploading:
    own = {HOPS: str(hops)} if hops else {}
    return await store.write(ref, {**attributes, **own}, new)


async def _opened(store: Objects, ref: ObjectRef, part: ByteRange) -> Stream:
    if part.suffix is not None:
        part = part.resolved((await store.head(ref)).size)
    return await store.read(ref, part.first, part.last)


def _own_lines(error: PenstockError) -> bytes:
    """Field lines that belong to the answer with this error."""
    if isinstance(error, Unauthorized):
        return _CHALLENGE
    if isinstance(error, RangeNotSatisfiable) and error.size is not None:
        return b"Content-Range: bytes */%d\r\n" % error.size  # RFC 9110 §15.5.17
    return b""


def _broken_off(ref: ObjectRef, failed: Callable[[PenstockError], None], error: PenstockError) -> None:
    """The object could not be read to its end: say so to whoever looks after the store, and to the client."""
    _log.warning("%s: %s", ref, error)
    failed(error)


def _fail(exchange: Exchange, error: PenstockError) -> None:
    if exchange.head_sent:
        exchange.abort()
    else:
        refuse(exchange, error.status, str(error).encode(), b"", retry=error.status == 503)
