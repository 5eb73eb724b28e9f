"""The Kubernetes API: plain JSON objects by kind, name and namespace. Made by the provider; everything else here calls it.

Requests that change nothing when they are made twice are tried again while the API server has no time for them (429, 5xx) or
is being restarted. A watch is one connection; keeping it alive is the work of `mirror`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.errors import ProviderUnavailable
from penstock.providers.kubernetes.apierrors import ApiUnavailable, refusal
from penstock.providers.kubernetes.connect import TIMEOUT, connect
from penstock.providers.kubernetes.kinds import DEPLOYMENT, POD, Kind

if TYPE_CHECKING:
    import httpx2

Document = dict[str, Any]
"""An object in the form of the API."""
Labels = Mapping[str, str] | str
"""A selector: pairs that must all be, or one written out."""

MANAGER = "penstock"
"""Field manager of what we apply."""
PATIENCE = 10.0
"""Seconds in which a request that may be repeated is tried again."""
PAGE = 500
"""Objects asked for at once."""
WATCH_SECONDS = 300
"""After which the API server ends a watch, so that none hangs for ever on a connection that is dead."""
MAX_LINE = 16 << 20
"""Bytes of one event of a watch; objects are at most 3 MiB."""
_APPLY, _MERGE, _JSON = "application/apply-patch+yaml", "application/merge-patch+json", "application/json"
_BUSY = (429, 502, 503, 504)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


class Listing(NamedTuple):
    """Objects, and the version that a watch goes on from."""

    items: list[Document]
    version: str


class WatchEvent(NamedTuple):
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK, which has nothing but a version."""

    type: str
    document: Document


class Api:
    """One API server. Every method raises ApiUnavailable when it does not answer, and ApiRefused."""

    def __init__(self, context: str, environ: Mapping[str, str]) -> None:
        self._context, self._environ = context, environ
        self._client: httpx2.AsyncClient | None = None

    async def open(self) -> str:
        """Connect; the server's version, such as v1.30.1. Raises SettingsError for a configuration that cannot be used."""
        if self._client is None:
            self._client = await asyncio.to_thread(connect, self._context, self._environ)
        return str((await self._ask("GET", "/version")).get("gitVersion", ""))

    async def close(self) -> None:
        if self._client:
            await self._client.aclose()
            self._client = None

    @property
    def url(self) -> str:
        """For people."""
        return str(self._client.base_url).rstrip("/") if self._client else "the API server"

    # Objects

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Document:
        """Raises ApiNotFound."""
        return await self._on("GET", kind, namespace, name)

    async def list(self, kind: Kind, namespace: str | None = None, labels: Labels = "") -> Listing:
        """All objects of a namespace, or of the cluster, page by page. Raises ApiGone when that took too long."""
        query = _query(labels) | {"limit": str(PAGE)}
        items: list[Document] = []
        while True:
            page = await self._on("GET", kind, namespace, query=query)
            version = str(page.get("metadata", {}).get("resourceVersion", ""))
            items += page.get("items") or []
            more = page.get("metadata", {}).get("continue")
            if not more:
                return Listing([{"apiVersion": kind.api_version, "kind": kind.name, **item} for item in items], version)
            query["continue"] = more

    async def create(self, kind: Kind, document: Document) -> Document:
        """Raises ApiConflict when it exists."""
        namespace = document["metadata"].get("namespace")
        return await self._on("POST", kind, namespace, body=document, verb="create", repeat=False)

    async def apply(self, kind: Kind, document: Document, force: bool = True, manager: str = MANAGER) -> Document:
        """Make an object what we say, and leave alone what we say nothing about (server-side apply). What the manager said
        before and does not say now is removed, unless another one says it too."""
        metadata = document["metadata"]
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        return await self._on(
            "PATCH", kind, metadata.get("namespace"), metadata["name"], query=query, body=document, content=_APPLY
        )

    async def replace(self, kind: Kind, document: Document) -> Document:
        """Raises ApiConflict when it is of another version by now."""
        metadata = document["metadata"]
        return await self._on(
            "PUT", kind, metadata.get("namespace"), metadata["name"], body=document, verb="update", repeat=False
        )

    async def merge(self, kind: Kind, name: str, namespace: str, patch: Document, subresource: str = "") -> Document:
        """Change some fields; null removes one."""
        return await self._on("PATCH", kind, namespace, name, subresource=subresource, body=patch, content=_MERGE)

    async def delete(
        self, kind: Kind, name: str, namespace: str = "", propagation: str = "Background", uid: str = ""
    ) -> None:
        """Raises ApiNotFound, and ApiConflict when the object of that name has another uid."""
        options: Document = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        await self._on("DELETE", kind, namespace, name, body=options)

    async def scale(self, name: str, namespace: str, replicas: int) -> Document:
        """Set how many replicas a Deployment is to have, by its scale, which is answered."""
        return await self.merge(DEPLOYMENT, name, namespace, {"spec": {"replicas": replicas}}, "scale")

    # Streams

    async def watch(
        self, kind: Kind, namespace: str | None, labels: Labels, version: str
    ) -> AsyncGenerator[WatchEvent, None]:
        """What happens after that version, until the server ends the watch. Raises ApiGone when it is too old."""
        query = _query(labels) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        rule = _rule("watch", kind, namespace)
        async with self._lines(kind.path(namespace), query, rule, WATCH_SECONDS + TIMEOUT) as lines:
            async for line in lines:
                yield _event(line)

    async def log_lines(
        self,
        pod: str,
        namespace: str,
        container: str,
        *,
        follow: bool = False,
        tail: int = -1,
        since: str = "",
    ) -> AsyncGenerator[bytes, None]:
        """What a container wrote, line by line with the time before each (RFC 3339 and a space). `since`: an RFC 3339 time."""
        query = {"container": container, "timestamps": "true", "follow": "true" if follow else "false"}
        if tail >= 0:
            query["tailLines"] = str(tail)
        if since:
            query["sinceTime"] = since
        rule = _rule("get", POD, namespace, "log")
        silence = None if follow else TIMEOUT
        async with self._lines(POD.path(namespace, pod, "log"), query, rule, silence) as lines:
            async for line in lines:
                yield line

    # Steps

    async def _on(
        self,
        method: str,
        kind: Kind,
        namespace: str | None = None,
        name: str = "",
        *,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        content: str = _JSON,
        verb: str = "",
        repeat: bool = True,
    ) -> Document:
        verb = verb or {"GET": "get" if name else "list", "PATCH": "patch", "DELETE": "delete"}[method]
        rule = _rule(verb, kind, namespace, subresource)
        path = kind.path(namespace, name, subresource)
        return await self._ask(method, path, query, body, content, rule, repeat, f"{verb} {kind.name} {name}".rstrip())

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        content: str = _JSON,
        rule: str = "",
        repeat: bool = True,
        asked: str = "",
    ) -> Document:
        data = msgspec.json.encode(body) if body is not None else None
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + PATIENCE, _FIRST_PAUSE
        while True:
            try:
                answer = await self._send(method, path, query, data, content)
            except ApiUnavailable:
                if not repeat or loop.time() + pause > deadline:
                    raise
                wait = pause
            else:
                if answer.status_code < 400:
                    return _document(answer.content, path)
                if answer.status_code not in _BUSY or (answer.status_code != 429 and not repeat):
                    raise refusal(answer.status_code, answer.content, asked or path, rule)
                wait = max(pause, _retry_after(answer.headers.get("retry-after", "")))
                if loop.time() + wait > deadline:
                    error = refusal(answer.status_code, answer.content, asked or path, rule)
                    raise ApiUnavailable(f"the Kubernetes API at {self.url} has no time: {error}")
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # many do not come back at once
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _send(
        self, method: str, path: str, query: Mapping[str, str] | None, data: bytes | None, content: str
    ) -> httpx2.Response:
        headers = {"Accept": _JSON, **({"Content-Type": content} if data is not None else {})}
        client = self._opened()
        with self._unavailable():
            return await client.request(method, path, params=dict(query or {}), content=data, headers=headers)

    @contextlib.asynccontextmanager
    async def _lines(
        self, path: str, query: Mapping[str, str], rule: str, silence: float | None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of a long answer; `silence`: seconds without one after which it is given up."""
        import httpx2

        client = self._opened()
        request = client.build_request("GET", path, params=dict(query), headers={"Accept": "application/json, */*"})
        request.extensions["timeout"] = {**httpx2.Timeout(TIMEOUT).as_dict(), "read": silence}
        with self._unavailable():
            answer = await client.send(request, stream=True)
        try:
            if answer.status_code >= 400:
                with self._unavailable():
                    body = await answer.aread()
                if answer.status_code in _BUSY:
                    raise ApiUnavailable(
                        f"the Kubernetes API at {self.url} has no time: {refusal(answer.status_code, body, path, rule)}"
                    )
                raise refusal(answer.status_code, body, path, rule)
            async with contextlib.aclosing(lines_of(self._pieces(answer))) as lines:
                yield lines
        finally:
            await answer.aclose()

    async def _pieces(self, answer: httpx2.Response) -> AsyncIterator[bytes]:
        with self._unavailable():
            async for piece in answer.aiter_bytes():
                yield piece

    @contextlib.contextmanager
    def _unavailable(self) -> Iterator[None]:
        """Whatever the library says of a connection, in one kind of error."""
        import httpx2
        from lightkube.core.exceptions import ConfigError

        try:
            yield
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            what = str(error).strip() or type(error).__name__
            raise ApiUnavailable(f"the Kubernetes API at {self.url} does not answer: {what}") from error
        except ConfigError as error:
            raise ApiUnavailable(f"credentials for the Kubernetes API at {self.url} cannot be had: {error}") from error

    def _opened(self) -> httpx2.AsyncClient:
        if self._client is None:
            raise ProviderUnavailable("the Kubernetes API is not connected")
        return self._client


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Lines without their ends, the last one also without one. Raises ApiUnavailable for one that is too long to be true."""
    held = b""
    async for piece in pieces:
        *whole, held = (held + piece).split(b"\n")
        for line in whole:
            yield line
        if len(held) > MAX_LINE:
            raise ApiUnavailable(f"the Kubernetes API sent a line of more than {MAX_LINE} bytes")
    if held:
        yield held


def _event(line: bytes) -> WatchEvent:
    document = _document(line, "a watch")
    kind, found = document.get("type"), document.get("object")
    if not isinstance(kind, str) or not isinstance(found, dict):
        raise ApiUnavailable(f"a watch of the Kubernetes API sent what is no event: {line[:200]!r}")
    if kind == "ERROR":
        raise refusal(int(found.get("code") or 500), msgspec.json.encode(found), "watch", "")
    return WatchEvent(kind, found)


def _document(body: bytes, asked: str) -> Document:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiUnavailable(
            f"what answers for the Kubernetes API sends no JSON for {asked}: {body[:200]!r}"
        ) from error
    if not isinstance(document, dict):
        raise ApiUnavailable(f"what answers for the Kubernetes API sends no object for {asked}: {body[:200]!r}")
    return document


def _query(labels: Labels) -> dict[str, str]:
    text = labels if isinstance(labels, str) else ",".join(f"{name}={value}" for name, value in labels.items())
    return {"labelSelector": text} if text else {}


def _rule(verb: str, kind: Kind, namespace: str | None, subresource: str = "") -> str:
    where = f"in namespace {namespace}" if namespace and kind.namespaced else "in the whole cluster"
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    return f"verb {verb} on {resource}{'.' + kind.group if kind.group else ''} {where}"


def _retry_after(text: str) -> float:
    """Seconds; 0 for what is no number."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0.0
