"""The objects of a bucket, page by page (ListObjectsV2), and other requests without a body that the storage library does not make.

Listings are not the library's, for which one key that it cannot name (with `//` or `..` in it, as any client may have written)
ends the whole listing, and which cannot begin in the middle of a name. Requests are made in threads: they are few, and large.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime
from http.client import HTTPException
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from penstock.storage.credentials import Keys
from penstock.storage.errors import StorageError, StorageUnavailable
from penstock.storage.reference import ObjectRef
from penstock.storage.signing import query_text, signed_headers
from penstock.storage.translate import of_answer, reason_of
from penstock.storagesettings import StorageSettings

PAGE = 1000
"""Objects of a page, as many as S3 allows."""

MAX_ANSWER = 16 << 20
"""Bytes of a page that we read: 1000 keys of 1024 bytes, encoded, and what is around them."""

PAUSE = 0.2
"""Seconds before a page is asked for again, doubling."""


class ObjectInfo(NamedTuple):
    """What is known of an object without reading it: `size` in bytes, `etag` without quotes, `modified` in seconds since 1970,
    `content_type` empty in listings, which do not tell it."""

    key: str
    size: int
    etag: str
    modified: float
    content_type: str = ""


class Page(NamedTuple):
    """Some objects, and what to ask for the next ones with; empty when these were the last."""

    objects: list[ObjectInfo]
    token: str


class Lister:
    """Asks one store for listings."""

    def __init__(self, settings: StorageSettings, keys: Callable[[], Keys]) -> None:
        self._settings, self._keys = settings, keys

    async def objects(self, bucket: str, prefix: str, after: str) -> AsyncIterator[ObjectInfo]:
        """All objects of a listing. Raises the errors of storage."""
        token = ""
        while True:
            page = await self.page(bucket, prefix, after, token)
            for item in page.objects:
                yield item
            token = page.token
            if not token:
                return

    async def first(self, bucket: str, timeout: float) -> None:
        """Ask for one object, once. Raises the errors of storage."""
        url = f"{self._base(bucket)}?{query_text({'list-type': '2', 'max-keys': '1'})}"
        read_page(await in_daemon(lambda: self._send("GET", url, bucket, timeout)))

    async def page(self, bucket: str, prefix: str, after: str, token: str) -> Page:
        """One page. Raises the errors of storage."""
        parameters = {"list-type": "2", "encoding-type": "url", "max-keys": str(PAGE), "prefix": prefix}
        if after:
            parameters["start-after"] = after
        if token:
            parameters["continuation-token"] = token
        return read_page(await self.ask("GET", bucket, "", parameters))

    async def ask(self, method: str, bucket: str, path: str, parameters: Mapping[str, str]) -> bytes:
        """The body of the answer to a request about a bucket, or an object whose key is in `path`, encoded.

        Tried again until `retry_timeout` when the store is out of order. Raises the errors of storage.
        """
        base = self._base(bucket)
        place = f"{base.rstrip('/')}/{path}" if path else base
        url = f"{place}?{query_text(parameters)}"
        deadline = time.monotonic() + self._settings.retry_timeout
        pause = PAUSE
        while True:
            try:
                return await in_daemon(lambda: self._send(method, url, bucket, self._settings.timeout))
            except StorageUnavailable:
                if time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause *= 2

    def _base(self, bucket: str) -> str:
        endpoint = self._settings.endpoint or f"https://s3.{self._settings.region}.amazonaws.com"
        if self._settings.path_style:
            return f"{endpoint.rstrip('/')}/{quote(bucket)}"
        parts = urlsplit(endpoint)
        return f"{parts.scheme}://{bucket}.{parts.netloc}/"

    def _send(self, method: str, url: str, bucket: str, timeout: float) -> bytes:
        """In a thread: the body of the answer. Raises the errors of storage."""
        ref = ObjectRef(bucket, "")
        endpoint = self._settings.endpoint or f"Amazon S3 in {self._settings.region}"
        headers = signed_headers(method, url, self._settings.region, self._keys(), datetime.now(UTC))
        request = urllib.request.Request(url, headers=headers, method=method)  # noqa: S310 - settings allow http and https only
        try:
            with _OPENER.open(request, timeout=timeout) as answer:
                body: bytes = answer.read(MAX_ANSWER + 1)
        except urllib.error.HTTPError as error:
            code = _error_code(error.read(65536))
            raise of_answer(error.code, code, ref) or StorageError(f"the store answers {error.code}") from error
        except (OSError, HTTPException) as error:
            raise StorageUnavailable(
                f"the object store at {endpoint} is unavailable: {reason_of(repr(error))}"
            ) from error
        if len(body) > MAX_ANSWER:
            raise StorageError(f"the object store at {endpoint} gives a page of more than {MAX_ANSWER >> 20} MiB")
        return body


async def in_daemon(work: Callable[[], bytes]) -> bytes:
    """What `work` returns or raises, in a thread that nobody waits for when we are cancelled or the process ends."""
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[bytes] = loop.create_future()

    def tell(result: bytes | Exception) -> None:
        if outcome.cancelled():
            return
        if isinstance(result, Exception):
            outcome.set_exception(result)
        else:
            outcome.set_result(result)

    def body() -> None:
        result: bytes | Exception
        try:
            result = work()
        except Exception as error:
            result = error
        with contextlib.suppress(RuntimeError):  # the loop has ended, and whoever waited with it
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=body, name="object store", daemon=True).start()
    return await outcome


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A signed request is for one address; to follow it elsewhere would give away the signature."""

    def redirect_request(self, *_: object) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def read_page(body: bytes) -> Page:
    """The objects that an answer tells. Raises StorageError for what is no such answer."""
    try:
        root = xml.etree.ElementTree.fromstring(body)  # noqa: S314 - the answer of the store that we are told to use
        space = root.tag.partition("}")[0] + "}" if root.tag.startswith("{") else ""
        objects = [_object(item, space) for item in root.iter(f"{space}Contents")]
        token = root.findtext(f"{space}NextContinuationToken", "")
        truncated = root.findtext(f"{space}IsTruncated", "") == "true"
    except (xml.etree.ElementTree.ParseError, ValueError) as error:
        raise StorageError("the object store's listing is not what S3 answers") from error
    return Page(objects, token if truncated else "")


def _object(item: xml.etree.ElementTree.Element, space: str) -> ObjectInfo:
    return ObjectInfo(
        unquote(item.findtext(f"{space}Key", "").replace("+", " ")),
        int(item.findtext(f"{space}Size", "0")),
        item.findtext(f"{space}ETag", "").strip('"'),
        datetime.fromisoformat(item.findtext(f"{space}LastModified", "")).timestamp(),
    )


def _error_code(body: bytes) -> str:
    code = body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode("ascii", "replace")
    return code if code.isalnum() and len(code) <= 60 else ""
