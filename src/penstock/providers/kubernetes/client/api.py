"""The Kubernetes API: plain JSON objects by kind, name and namespace. Made by the provider; everything else here calls it.

Requests that change nothing when they are made twice are tried again while the API server has no time for them (429, 5xx) or
is being restarted. A watch is one connection; keeping it alive is the work of `mirror`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple

from penstock.errors import ProviderUnavailable
from penstock.providers.kubernetes.client.answers import (
    MAX_LIST,
    Allowance,
    Document,
    WatchEvent,
    event_of,
    object_of,
    page_of,
    version_of,
)
from penstock.providers.kubernetes.client.connect import TIMEOUT, connect
from penstock.providers.kubernetes.client.errors import ApiUnavailable
from penstock.providers.kubernetes.client.exchange import Exchange, Request
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, POD, Kind

__all__ = ["Api", "Document", "Labels", "Listing", "WatchEvent"]

Labels = Mapping[str, str] | str
"""A selector: pairs that must all be, or one written out."""

MANAGER = "penstock"
"""Field manager of what we apply."""
PAGE = 500
"""Objects asked for at once."""
WATCH_SECONDS = 300
"""After which the API server ends a watch, so that none hangs for ever on a connection that is dead."""
_APPLY, _MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


class Listing(NamedTuple):
    """Objects, and the version that a watch goes on from."""

    items: list[Document]
    version: str


class Api:
    """One API server. Every method raises ApiUnavailable when it does not answer, and ApiRefused."""

    def __init__(self, context: str, environ: Mapping[str, str]) -> None:
        self._context, self._environ = context, environ
        self._exchange: Exchange | None = None

    async def open(self) -> str:
        """Connect; the server's version, such as v1.30.1. Raises SettingsError for a configuration that cannot be used."""
        if self._exchange is None:
            self._exchange = Exchange(await asyncio.to_thread(connect, self._context, self._environ))
        return version_of(await self._ask(Request("GET", "/version", "/version")))

    async def close(self) -> None:
        if self._exchange:
            await self._exchange.close()
            self._exchange = None

    @property
    def url(self) -> str:
        """For people."""
        return self._exchange.url if self._exchange else "the API server"

    # Objects

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Document:
        """Raises ApiNotFound."""
        return await self._object(kind, _request("GET", "get", kind, namespace, name))

    async def list(self, kind: Kind, namespace: str | None = None, labels: Labels = "") -> Listing:
        """All objects of a namespace, or of the cluster, page by page. Raises ApiGone when that took too long."""
        query = _query(labels) | {"limit": str(PAGE)}
        items: list[Document] = []
        allowance = Allowance(MAX_LIST)
        while True:
            request = _request("GET", "list", kind, namespace, query=query)
            page = page_of(await self._ask(request, allowance), kind, request.asked)
            items += ({"apiVersion": kind.api_version, "kind": kind.name, **item} for item in page.items)
            if not page.more:
                return Listing(items, page.version)
            if page.more == query.get("continue"):
                raise ApiUnavailable(
                    f"what answers for the Kubernetes API sends one page again and again for {request.asked}"
                )
            query["continue"] = page.more

    async def look(self, kind: Kind, namespace: str | None = None) -> None:
        """Ask for one object of a kind, whichever: what keeps from following them is raised."""
        request = _request("GET", "list", kind, namespace, query={"limit": "1"})
        page_of(await self._ask(request), kind, request.asked)

    async def create(self, kind: Kind, document: Document) -> Document:
        """Raises ApiConflict when it exists."""
        namespace = document["metadata"].get("namespace")
        return await self._object(kind, _request("POST", "create", kind, namespace, body=document, repeat=False))

    async def apply(self, kind: Kind, document: Document, force: bool = True, manager: str = MANAGER) -> Document:
        """Make an object what we say, and leave alone what we say nothing about (server-side apply). What the manager said
        before and does not say now is removed, unless another one says it too."""
        namespace, name = document["metadata"].get("namespace"), document["metadata"]["name"]
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        request = _request("PATCH", "patch", kind, namespace, name, query=query, body=document, content=_APPLY)
        return await self._object(kind, request)

    async def replace(self, kind: Kind, document: Document) -> Document:
        """Raises ApiConflict when it is of another version by now."""
        namespace, name = document["metadata"].get("namespace"), document["metadata"]["name"]
        return await self._object(kind, _request("PUT", "update", kind, namespace, name, body=document, repeat=False))

    async def merge(self, kind: Kind, name: str, namespace: str, patch: Document, subresource: str = "") -> Document:
        """Change some fields; null removes one."""
        request = _request("PATCH", "patch", kind, namespace, name, subresource, body=patch, content=_MERGE)
        return await self._object(kind, request)

    async def delete(
        self, kind: Kind, name: str, namespace: str = "", propagation: str = "Background", uid: str = ""
    ) -> None:
        """Raises ApiNotFound, and ApiConflict when the object of that name has another uid."""
        options: Document = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        await self._ask(_request("DELETE", "delete", kind, namespace, name, body=options))

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
        request = _request("GET", "watch", kind, namespace, query=query)
        async with self._opened().lines(request, WATCH_SECONDS + TIMEOUT) as lines:
            async for line in lines:
                yield event_of(line, kind)

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
        request = _request("GET", "get", POD, namespace, pod, "log", query=query)
        async with self._opened().lines(request, None if follow else TIMEOUT) as lines:
            async for line in lines:
                yield line

    # Steps

    async def _ask(self, request: Request, allowance: Allowance | None = None) -> Document:
        return await self._opened().ask(request, allowance)

    async def _object(self, kind: Kind, request: Request) -> Document:
        return object_of(await self._ask(request), kind, request.asked)

    def _opened(self) -> Exchange:
        if self._exchange is None:
            raise ProviderUnavailable("the Kubernetes API is not connected")
        return self._exchange


def _request(
    method: str, verb: str, kind: Kind, namespace: str | None, name: str = "", subresource: str = "", **fields: Any
) -> Request:
    """`fields`: those of a Request that are not its address."""
    path, rule = kind.path(namespace, name, subresource), _rule(verb, kind, namespace, subresource)
    return Request(method, path, f"{verb} {kind.name} {name}".rstrip(), rule, **fields)


def _query(labels: Labels) -> dict[str, str]:
    text = labels if isinstance(labels, str) else ",".join(f"{name}={value}" for name, value in labels.items())
    return {"labelSelector": text} if text else {}


def _rule(verb: str, kind: Kind, namespace: str | None, subresource: str = "") -> str:
    where = f"in namespace {namespace}" if namespace and kind.namespaced else "in the whole cluster"
    resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
    return f"verb {verb} on {resource}{'.' + kind.group if kind.group else ''} {where}"
