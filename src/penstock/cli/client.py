"""The client of the gateway's REST API that all verbs share: requests, credentials, and its answers as domain errors.

Verbs call `talk`, which runs one piece of asynchronous work against one gateway. aiohttp is imported when the first request
is made. Redirects are never followed, so credentials go nowhere but to the URL that was named.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import msgspec

from penstock.cli.exchange import (
    USER_AGENT,
    Reply,
    TookTooLong,
    proxy_of,
    refusal,
    silent,
    too_long,
    unauthorized,
    unreachable,
    waiting_said,
    words_of,
)
from penstock.cli.schema import FunctionStatus, NamespaceInfo, Raw, ScalingReport
from penstock.cli.target import Target
from penstock.errors import GatewayUnavailable, InvalidInput, NotFound, PenstockError

if TYPE_CHECKING:
    import aiohttp

__all__ = [
    "CONNECT_TIMEOUT", "MAX_HEAD", "USER_AGENT", "Gateway", "Reply", "decode", "namespace_of", "refusal", "scaling_of", "segment",
    "status_of", "talk", "unauthorized",
]  # fmt: skip
"""Some of it is from `exchange`: a verb that talks to a gateway finds everything here."""

T = TypeVar("T")

CONNECT_TIMEOUT = 10.0
"""Seconds to open a connection, also where the exchange itself has no limit."""
MAX_HEAD = 1 << 20
"""Bytes in one line of an answer's head; as much as the gateway accepts from clients."""

_OK = frozenset((200, 201, 202, 204))


class Gateway:
    """One gateway, open for the length of one command."""

    def __init__(self, target: Target, session: aiohttp.ClientSession) -> None:
        self.target = target
        self._session = session

    def within(self, namespace: str) -> Gateway:
        """The same gateway for functions of another namespace; empty: its default."""
        return Gateway(self.target._replace(namespace=namespace), self._session)

    @asynccontextmanager
    async def stream(self, method: str, path: str, **request: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request; the body of the answer is still to be read. Raises GatewayUnavailable, TookTooLong.

        `request` may hold `params`, `headers`, `data` (bytes or an async iterator, sent as it comes).
        """
        import aiohttp
        from yarl import URL

        url = URL(self.target.url + path, encoded=True).extend_query(request.pop("params", None) or {})
        answered = False
        try:
            async with self._session.request(
                method, url, allow_redirects=False, proxy=proxy_of(self.target), ssl=self.target.verify_tls, **request
            ) as response:
                answered = True
                yield response
        except aiohttp.ConnectionTimeoutError as error:
            raise unreachable(self.target, f"no answer within {CONNECT_TIMEOUT:g} s") from error
        except TimeoutError as error:
            raise too_long(method, url, self.target) from error
        except aiohttp.ClientError as error:
            raise _failure(self.target, error, answered) from error

    @asynccontextmanager
    async def ask(self, method: str, path: str, **request: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """As `stream`, for what the gateway itself answers: on a terminal the wait for it is explained.

        Raises GatewayUnavailable also for a gateway that takes connections and does not begin to answer in time.
        """
        begun = False
        try:
            with ExitStack() as wait:
                wait.enter_context(waiting_said(self.target))
                async with self.stream(method, path, **request) as response:
                    begun = True
                    wait.close()
                    yield response
        except TookTooLong as error:
            if begun:
                raise
            raise silent(self.target, error) from error

    async def request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: object = None
    ) -> Reply:
        """One exchange of the REST API, whatever its status, except 401, which raises Unauthorized. Raises as `ask` does."""
        headers = {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self.target.authorization:
            headers["Authorization"] = self.target.authorization
        try:
            data = msgspec.json.encode(body) if body is not None else None
        except UnicodeEncodeError as error:
            raise InvalidInput("an argument holds bytes that are not UTF-8, which JSON cannot carry") from error
        async with self.ask(method, path, params=params, headers=headers, data=data) as response:
            reply = Reply(response.status, response.reason or "", await response.read())
        if reply.status == 401:
            raise unauthorized(self.target)
        return reply

    async def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        accept: Collection[int] = _OK,
    ) -> Reply:
        """One exchange that must end with a status in `accept`; any other raises the domain error it stands for."""
        reply = await self.request(method, path, params=params, body=body)
        if reply.status not in accept:
            raise refusal(reply)
        return reply

    def query(self, **more: str) -> dict[str, str]:
        """Query parameters: `more`, and the namespace when one was named."""
        return {**more, **({"namespace": self.target.namespace} if self.target.namespace else {})}

    def named(self, **more: object) -> dict[str, object]:
        """A JSON body: `more`, and the namespace when one was named."""
        return {**more, **({"namespace": self.target.namespace} if self.target.namespace else {})}

    async def functions(self) -> list[Raw]:
        """All functions of the namespace, as JSON objects."""
        reply = await self.call("GET", "/system/functions", params=self.query(), accept=(200,))
        return decode(reply.body, list[Raw] | None) or []

    async def function(self, name: str, *, usage: bool = False) -> Raw:
        """One function as a JSON object. Raises NotFound with a sentence of its own, since the answer has none."""
        params = self.query(**({"usage": "1"} if usage else {}))
        reply = await self.request("GET", f"/system/function/{segment(name)}", params=params)
        if reply.status == 404:
            raise NotFound(f"there is no function {name!r}{_in(self.target)}; `penstock list` shows those there are")
        if reply.status != 200:
            raise refusal(reply)
        raw: Raw = decode(reply.body, Raw)
        return raw

    async def scaling(self, name: str) -> Raw | None:
        """Why a function has the replicas that it has; None from a gateway that cannot tell."""
        reply = await self.request("GET", f"/system/function/{segment(name)}/scaling", params=self.query())
        if reply.status in (404, 405):
            return None
        if reply.status != 200:
            raise refusal(reply)
        raw: Raw = decode(reply.body, Raw)
        return raw

    async def namespaces(self) -> list[str]:
        """Names of all namespaces."""
        reply = await self.call("GET", "/system/namespaces", accept=(200,))
        return decode(reply.body, list[str] | None) or []


def talk(target: Target, work: Callable[[Gateway], Awaitable[T]]) -> T:
    """Run `work` against the gateway from synchronous code; the one place where a command enters asyncio."""
    import asyncio  # late, as aiohttp is: what `fetch` does is done without

    return asyncio.run(_talk(target, work))


async def _talk(target: Target, work: Callable[[Gateway], Awaitable[T]]) -> T:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=target.timeout or None, sock_connect=CONNECT_TIMEOUT)
    async with aiohttp.ClientSession(
        timeout=timeout,
        headers={"User-Agent": USER_AGENT},
        skip_auto_headers=("Accept-Encoding",),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        max_line_size=MAX_HEAD,
        max_field_size=MAX_HEAD,
    ) as session:
        return await work(Gateway(target, session))


def segment(name: str) -> str:
    """A name as one segment of a path. Raises InvalidInput for what no path segment can carry."""
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise InvalidInput(f"{name!r} cannot be a name: lower-case letters, digits and inner dashes")
    return quote(name, safe="")


def decode(body: bytes, kind: Any) -> Any:
    """JSON of the gateway as `kind`. Raises PenstockError when it is something else, with the beginning of what came."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError as error:
        start = body[:80].decode(errors="replace")
        raise PenstockError(f"the gateway's answer is not what was expected ({error}): {start!r}") from error


def status_of(raw: Raw) -> FunctionStatus:
    """A function's JSON object as something to read fields from. Raises PenstockError."""
    return _convert(raw, FunctionStatus)


def scaling_of(raw: Raw) -> ScalingReport:
    """The answer of `Gateway.scaling` as something to read fields from. Raises PenstockError."""
    return _convert(raw, ScalingReport)


def namespace_of(raw: Raw) -> NamespaceInfo:
    """A namespace's JSON object as something to read fields from. Raises PenstockError."""
    return _convert(raw, NamespaceInfo)


def _convert(raw: Raw, kind: type[T]) -> T:
    try:
        return msgspec.convert(raw, type=kind, strict=False)
    except msgspec.MsgspecError as error:
        raise PenstockError(f"the gateway's answer is not what was expected: {error}") from error


def _in(target: Target) -> str:
    return f" in namespace {target.namespace!r}" if target.namespace else ""


def _failure(target: Target, error: aiohttp.ClientError, answered: bool) -> PenstockError:
    """A transport failure as a sentence that says how far things had come; no gateway at all has its own exit code."""
    import aiohttp

    if answered:
        return PenstockError(f"{target.url} closed the connection in the middle of its answer ({error})")
    if isinstance(error, aiohttp.ClientSSLError):
        return unreachable(target, str(error))
    if not isinstance(error, aiohttp.ClientConnectorError):
        return GatewayUnavailable(f"{target.url} closed the connection without an answer ({error})")
    return unreachable(target, words_of(error.os_error))
