"""What the API server answers, read up to a limit and checked for what everybody here relies on. Used by `api`.

Whatever is in between may answer in its place: an answer of another form is that of a server that is not there, and never read on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, NamedTuple, TypeVar

import msgspec

from penstock.core.shown import shown
from penstock.providers.kubernetes.client.errors import ApiTooLong, ApiUnavailable, refusal
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, POD, POD_METRICS, SERVICE, Kind

Document = dict[str, Any]
"""An object in the form of the API."""

MAX_OBJECT = 16 << 20
"""Bytes of one object, and of one event of a watch; API servers take at most 3 MiB."""
MAX_LIST = 512 << 20
"""Bytes of a list with all its pages: some hundred thousand pods."""
MAX_REFUSAL = 1 << 20
"""Bytes that are read of an answer that says no."""
_SHOWN = 200


class Page(NamedTuple):
    """A part of a list; `more` is what to ask for the next one with, empty at the end."""

    items: list[Document]
    version: str
    more: str


class WatchEvent(NamedTuple):
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK, which has nothing but a version."""

    type: str
    document: Document


class _Metadata(msgspec.Struct, rename="camel", kw_only=True):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: list[dict[str, Any]] | None = None


class _Object(msgspec.Struct, kw_only=True):
    metadata: _Metadata
    spec: dict[str, Any] | None = None
    status: dict[str, Any] | None = None
    containers: list[dict[str, Any]] | None = None
    """Of metrics."""


class _ListMetadata(msgspec.Struct, rename="camel", kw_only=True):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct, kw_only=True):
    metadata: _ListMetadata | None = None
    items: list[Document] | None = None


class _Event(msgspec.Struct, kw_only=True):
    type: str
    object: Document


class _Version(msgspec.Struct, rename="camel", kw_only=True):
    git_version: str


_Shape = TypeVar("_Shape", bound=msgspec.Struct)
_HAVE_SPEC = (DEPLOYMENT, SERVICE, POD)


def decoded(body: bytes, asked: str) -> Document:
    """The JSON object that an answer is. Raises ApiUnavailable."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ApiUnavailable(
            f"what answers for the Kubernetes API sends no JSON for {asked}: {_start(body)}"
        ) from error
    if not isinstance(document, dict):
        raise ApiUnavailable(f"what answers for the Kubernetes API sends no object for {asked}: {_start(body)}")
    return document


def object_of(document: Any, kind: Kind, asked: str) -> Document:
    """The same, when it is an object with a name, and a uid and version where objects are kept. Raises ApiUnavailable."""
    found = _as(document, _Object, asked)
    if kind is not POD_METRICS:
        missing = [name for name in ("uid", "resourceVersion") if not document["metadata"].get(name)]
        if kind in _HAVE_SPEC and found.spec is None:
            missing.append("spec")
        if missing:
            raise _odd(asked, f"an object without {' and '.join(missing)}")
    checked: Document = document
    return checked


def page_of(document: Document, kind: Kind, asked: str) -> Page:
    """Raises ApiUnavailable."""
    found = _as(document, _List, asked)
    items = [object_of(item, kind, asked) for item in found.items or ()]
    metadata = found.metadata or _ListMetadata()
    return Page(items, metadata.resource_version, metadata.continue_)


def event_of(line: bytes, kind: Kind) -> WatchEvent:
    """Raises ApiUnavailable for what is no event, and what the server says no with."""
    asked = f"a watch of {kind.plural}"
    found = _as(decoded(line, asked), _Event, asked)
    document = found.object
    if found.type == "ERROR":
        code = document.get("code")
        raise refusal(code if isinstance(code, int) else 500, msgspec.json.encode(document), asked, "")
    if found.type == "BOOKMARK":
        _as(document.get("metadata"), _ListMetadata, asked)
        return WatchEvent(found.type, document)
    return WatchEvent(found.type, object_of(document, kind, asked))


def version_of(document: Document) -> str:
    """The server's own, such as v1.30.1. Raises ApiUnavailable."""
    return _as(document, _Version, "/version").git_version


class Allowance:
    """Bytes that an answer may have, or several that belong together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._read = 0

    async def read(self, pieces: AsyncIterator[bytes], asked: str) -> bytes:
        """All of an answer. Raises ApiTooLong when it is longer than what is left."""
        kept: list[bytes] = []
        async for piece in pieces:
            self._read += len(piece)
            if self._read > self._most:
                raise ApiTooLong(
                    f"the Kubernetes API answers {asked} with more than {self._most:,} bytes, which are not read"
                )
            kept.append(piece)
        return b"".join(kept)


async def read_refusal(pieces: AsyncIterator[bytes]) -> bytes:
    """As much as is needed of an answer that says no."""
    kept = b""
    async for piece in pieces:
        kept += piece
        if len(kept) >= MAX_REFUSAL:
            break
    return kept[:MAX_REFUSAL]


async def lines_of(pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """Lines without their ends, the last one also without one. Raises ApiUnavailable for one that is too long to be true."""
    held: list[bytes] = []
    length = 0
    async for piece in pieces:
        first, *others = piece.split(b"\n")
        held.append(first)
        length += len(first)
        if others:
            *whole, last = others
            for line in (b"".join(held), *whole):
                yield line
            held, length = [last], len(last)
        if length > MAX_OBJECT:
            raise ApiUnavailable(f"the Kubernetes API sent a line of more than {MAX_OBJECT:,} bytes")
    if length:
        yield b"".join(held)


def _as(document: Any, shape: type[_Shape], asked: str) -> _Shape:
    try:
        return msgspec.convert(document, shape)
    except msgspec.ValidationError as error:
        raise _odd(asked, f"what it never does: {error}") from error


def _odd(asked: str, what: str) -> ApiUnavailable:
    return ApiUnavailable(f"what answers for the Kubernetes API sends for {asked} {what}")


def _start(body: bytes) -> str:
    return repr(shown(body[:_SHOWN].decode("utf-8", "replace")))
