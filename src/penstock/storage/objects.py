"""The objects of one store: read, written, listed and removed without ever holding a large one in memory.

Used by the gateway's workers, the poller and the command line. The work is the library obstore's, which is imported at the
first use, in a thread. Which buckets may be touched is for the caller to check (`access.py`).
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from penstock.errors import InvalidInput
from penstock.storage.attributes import HOPS, KEPT, Attributes
from penstock.storage.credentials import Keys, load_keys
from penstock.storage.errors import (
    ObjectExists,
    ObjectNotFound,
    RangeNotSatisfiable,
    StorageDenied,
    StorageOff,
    StorageUnavailable,
)
from penstock.storage.listing import Lister, ObjectInfo
from penstock.storage.reference import ObjectRef, check_bucket_name, check_key
from penstock.storage.translate import translated
from penstock.storage.unfinished import Unfinished, remove_parts, unfinished
from penstock.storage.upload import Stored as Stored  # for whoever wants the whole of storage from one place
from penstock.storage.upload import Upload
from penstock.storagesettings import StorageSettings

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions, GetResult
    from obstore.store import S3Credential, S3Store

Method = Literal["GET", "PUT", "HEAD", "DELETE"]
"""What a signed address may be for."""

PIECE = 1 << 20
"""Bytes of a piece that a stream gives at once, about: fewer make more turns between the loop and the library's threads."""

PROBE_TIMEOUT = 4.0
"""Seconds for a store to show that it is there."""

KEYS_LIFETIME = 300.0
"""Seconds after which keys are read anew, so that a credentials file may be replaced while we run."""

MAX_PRESIGNED = 604800
"""Seconds that a signed address may hold at most: a week, a rule of S3's signature."""

_ANY_REQUEST = timedelta(days=7)
"""For the library's limit of a whole request, which counts a stream that a slow function reads; silence has its own limit."""

_NONE: Attributes = MappingProxyType({})
_FIRST_PAUSE, _LAST_PAUSE = timedelta(milliseconds=100), timedelta(seconds=3)
_ATTEMPTS = 1000
"""More than fit into any time for trying again: that time alone is the limit."""


class ObjectStream:
    """An object, or a range of it, as pieces; to be closed by `aclose`, or by reading to its end.

    `size` is the whole object's in bytes; `first` and `last` are what the pieces are of, inclusive; `last` is `first - 1` when
    there are no bytes. `ask` asks the store for a part of the object.
    """

    def __init__(
        self, ref: ObjectRef, endpoint: str, result: GetResult, ask: Callable[[GetOptions], Awaitable[GetResult]]
    ) -> None:
        self._ref, self._endpoint, self._ask = ref, endpoint, ask
        self._stream: BytesStream | None = result.stream(PIECE)
        meta = result.meta
        self.size = meta["size"]
        self.first, end = result.range
        self.last = end - 1
        self._next = self._taken_up = self.first
        self._tag = meta["e_tag"]
        self.etag = (meta["e_tag"] or "").strip('"')
        self.attributes: Attributes = {
            name: value for name, value in result.attributes.items() if name in KEPT or name == HOPS
        }

    def __aiter__(self) -> ObjectStream:
        return self

    async def __anext__(self) -> bytes:
        """The next piece. Raises StorageUnavailable when the store stops in the middle, or has another object there by now."""
        if self._stream is None:
            raise StopAsyncIteration
        try:
            piece = await self._piece(self._stream)
        except BaseException:
            self._stream = None
            raise
        self._next += len(piece)
        return piece

    async def _piece(self, stream: BytesStream) -> bytes:
        """The library takes up by itself what breaks off soon after it was opened, and nothing later: then we do."""
        try:
            with translated(self._ref, self._endpoint):
                return bytes(await stream.__anext__())
        except StorageUnavailable:
            if not self._taken_up < self._next <= self.last or not self._tag:
                raise
        self._taken_up = self._next
        try:
            result = await self._ask({"range": (self._next, self.last + 1), "if_match": self._tag})
        except ObjectExists as error:
            raise StorageUnavailable(f"{self._ref} was written anew while it was read") from error
        self._stream = result.stream(PIECE)
        with translated(self._ref, self._endpoint):
            return bytes(await self._stream.__anext__())

    async def aclose(self) -> None:
        """Let go of the connection; what was not read is not fetched."""
        self._stream = None


class ObjectStore:
    """An S3-compatible store. One for a process and its event loop; connections are kept."""

    def __init__(self, settings: StorageSettings, environ: Mapping[str, str]) -> None:
        """`environ` is where the keys may be. Nothing is imported or connected yet."""
        self._settings, self._environ = settings, environ
        self._buckets: dict[str, asyncio.Future[S3Store]] = {}
        self._lister = Lister(settings, self._needed_keys)

    @property
    def endpoint(self) -> str:
        """Where it is, for messages."""
        return self._settings.endpoint or f"Amazon S3 in {self._settings.region}"

    async def read(self, ref: ObjectRef, first: int = 0, last: int | None = None) -> ObjectStream:
        """An object's bytes from `first` to `last`, inclusive; without `last` to its end. `last` may be beyond the end.

        Raises ObjectNotFound, RangeNotSatisfiable and the other errors of storage.
        """
        store = await self._bucket(ref)
        ask = functools.partial(self._get, store, ref)
        options: GetOptions = {}
        if last is not None:
            if last < first:
                raise InvalidInput(f"a range of bytes cannot end at {last} before it begins at {first}")
            options = {"range": (first, last + 1)}
        elif first:
            options = {"range": {"offset": first}}
        try:
            result = await ask(options)
        except RangeNotSatisfiable as error:
            size = (await self.head(ref)).size  # the library does not pass on what the store says of it
            raise RangeNotSatisfiable(
                f"the range begins after the end of {ref}, which has {size} bytes", size
            ) from error
        return ObjectStream(ref, self.endpoint, result, ask)

    async def _get(self, store: S3Store, ref: ObjectRef, options: GetOptions) -> GetResult:
        import obstore

        with translated(ref, self.endpoint):
            return await obstore.get_async(store, ref.key, options=options)

    async def write(self, ref: ObjectRef, attributes: Attributes = _NONE, if_none_match: bool = False) -> Upload:
        """Begin an upload, to be ended by `finish` or `abort`; `attributes` are printable ASCII. Raises the errors of storage.

        With `if_none_match` it ends in ObjectExists when there is an object of that key.
        """
        store = await self._bucket(ref)
        upload = Upload(store, ref, self.endpoint, self._settings, attributes, if_none_match)
        if if_none_match and await self._exists(ref):
            raise upload.exists()
        return upload

    async def head(self, ref: ObjectRef) -> ObjectInfo:
        """What is known of an object. Raises ObjectNotFound and the other errors of storage."""
        store = await self._bucket(ref)
        import obstore

        try:
            with translated(ref, self.endpoint):
                result = await obstore.get_async(store, ref.key, options={"head": True})
        except ObjectNotFound:
            # An answer to HEAD has no body that would tell a missing bucket from a missing object.
            await (await self.read(ref)).aclose()
            raise
        meta = result.meta
        return ObjectInfo(
            ref.key,
            meta["size"],
            (meta["e_tag"] or "").strip('"'),
            meta["last_modified"].timestamp(),
            result.attributes.get("Content-Type", ""),
        )

    async def remove(self, ref: ObjectRef) -> None:
        """Remove an object; that there was none is no error, as in S3."""
        store = await self._bucket(ref)
        import obstore

        with translated(ref, self.endpoint):
            await obstore.delete_async(store, ref.key)

    def list(self, bucket: str, prefix: str = "", after: str = "") -> AsyncIterator[ObjectInfo]:
        """The objects whose keys begin with `prefix` and come after the key `after`, in the order of their UTF-8, page by page.

        All keys are given, also those that no reference can name. Raises BucketNotFound and the other errors of storage.
        """
        check_bucket_name(bucket)
        return self._lister.objects(bucket, prefix, after)

    def unfinished(self, bucket: str, prefix: str = "") -> AsyncIterator[Unfinished]:
        """Uploads in parts that have begun and not ended, whoever began them, of keys that begin with `prefix`.

        Raises BucketNotFound and the other errors of storage.
        """
        check_bucket_name(bucket)
        return unfinished(self._lister, bucket, prefix)

    async def remove_parts(self, one: Unfinished) -> None:
        """Give up an upload that somebody has begun; that it has ended is no error. Raises the errors of storage."""
        await remove_parts(self._lister, one)

    async def presign(self, ref: ObjectRef, method: Method = "GET", seconds: int = 3600) -> str:
        """An address with which anyone may read (GET) or write (PUT) the object for so many seconds, without keys."""
        if not 1 <= seconds <= MAX_PRESIGNED:
            raise InvalidInput(
                f"a signed address may hold from a second to a week ({MAX_PRESIGNED} s), not {seconds} s"
            )
        store = await self._bucket(ref)
        import obstore

        with translated(ref, self.endpoint):
            return await obstore.sign_async(store, method, ref.key, timedelta(seconds=seconds))

    async def probe(self) -> None:
        """Raises the error that a request would end with when the store is not there or a bucket of the settings is not."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                for bucket in sorted(self._settings.allowed):
                    await self._lister.first(bucket, PROBE_TIMEOUT)
        except TimeoutError as error:
            raise StorageUnavailable(
                f"the object store at {self.endpoint} has not answered within {PROBE_TIMEOUT:g} s"
            ) from error

    async def _exists(self, ref: ObjectRef) -> bool:
        try:
            await self.head(ref)
        except ObjectNotFound:
            return False
        return True

    async def _bucket(self, ref: ObjectRef) -> S3Store:
        """The library's store for the object's bucket, made once. Raises InvalidInput, StorageOff, StorageDenied."""
        check_bucket_name(ref.bucket)
        check_key(ref.key)
        made = self._buckets.get(ref.bucket)
        if made is None:
            made = self._buckets[ref.bucket] = asyncio.ensure_future(asyncio.to_thread(self._make, ref.bucket))
        try:
            return await asyncio.shield(made)
        except Exception:
            self._buckets.pop(ref.bucket, None)  # what was missing may be there the next time
            raise

    def _make(self, bucket: str) -> S3Store:
        """In a thread: the import and the reading of the machine's certificates take tens of milliseconds."""
        try:
            from obstore.store import S3Store
        except ImportError as error:
            raise StorageOff("object storage needs an extra: pip install 'penstock[s3]'") from error

        settings = self._settings
        provider = self._credential if load_keys(settings.credentials_file, self._environ) else None
        if provider is None and settings.endpoint:
            self._needed_keys()
        return S3Store(
            bucket,
            config={
                **({"endpoint": settings.endpoint} if settings.endpoint else {}),
                "region": settings.region,
                "virtual_hosted_style_request": not settings.path_style,
                "disable_bulk_delete": True,
            },
            client_options={
                "allow_http": settings.endpoint.startswith("http://"),
                "connect_timeout": timedelta(seconds=settings.connect_timeout),
                "read_timeout": timedelta(seconds=settings.timeout),
                "timeout": _ANY_REQUEST,
            },
            retry_config={
                "max_retries": _ATTEMPTS,
                "retry_timeout": timedelta(seconds=settings.retry_timeout),
                "backoff": {"init_backoff": _FIRST_PAUSE, "max_backoff": _LAST_PAUSE, "base": 2},
            },
            credential_provider=provider,
        )

    def _credential(self) -> S3Credential:
        """The keys for the library, which asks again when they are old."""
        keys = self._needed_keys()
        return {
            "access_key_id": keys.access,
            "secret_access_key": keys.secret,
            "token": keys.token or None,
            "expires_at": datetime.now(UTC) + timedelta(seconds=KEYS_LIFETIME),
        }

    def _needed_keys(self) -> Keys:
        keys = load_keys(self._settings.credentials_file, self._environ)
        if keys is None:
            raise StorageDenied(
                "there are no keys for the object store: set PENSTOCK_S3_ACCESS_KEY and PENSTOCK_S3_SECRET_KEY, or"
                " PENSTOCK_S3_CREDENTIALS_FILE"
            )
        return keys
