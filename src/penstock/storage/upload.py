"""One upload: bytes as they come, in parts, with as many on their way as the settings allow and no more in memory.

Made by `ObjectStore.write`. The library does the uploading, in a task of its own that is never cancelled: that is how an upload
that is given up can have its parts removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from penstock.errors import PenstockError
from penstock.storage.attributes import Attributes
from penstock.storage.errors import ObjectExists, ObjectNotFound, StorageError, UploadFailed
from penstock.storage.reference import ObjectRef
from penstock.storage.translate import translated
from penstock.storagesettings import StorageSettings

if TYPE_CHECKING:
    from obstore import PutResult
    from obstore.store import S3Store

PIECE = 1 << 20
"""Bytes that are handed to the library at once, once an upload has parts."""

_log = logging.getLogger(__name__)


class Stored(NamedTuple):
    """What has become an object; `etag` without quotes, `size` in bytes."""

    etag: str
    size: int


class _GivenUp(Exception):
    """Raised in the library's task, which then removes the parts."""


class Upload:
    """Bytes on their way to an object. One caller at a time; nothing is visible in the store before `finish`.

    As a context manager it is aborted when it is left without having been finished.
    """

    def __init__(
        self,
        store: S3Store,
        ref: ObjectRef,
        endpoint: str,
        settings: StorageSettings,
        attributes: Attributes,
        if_none_match: bool,
    ) -> None:
        self._store, self._ref, self._endpoint, self._settings = store, ref, endpoint, settings
        self._attributes = dict(attributes)
        self._if_none_match = if_none_match
        self._held = bytearray()
        self._size = 0
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._task: asyncio.Task[PutResult] | None = None
        self._ended = self._given_up = False

    async def __aenter__(self) -> Upload:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.abort()

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes; waits while as many parts as allowed are on their way. Raises the errors of storage."""
        if self._ended:
            raise UploadFailed(f"the upload of {self._ref} has ended")
        self._held += data
        self._size += len(data)
        enough = PIECE if self._task else self._settings.part_size
        if len(self._held) > enough:
            await self._hand_over()

    async def finish(self) -> Stored:
        """Make it an object. Raises the errors of storage; then there is none, unless the store's answer was lost."""
        if self._ended:
            raise UploadFailed(f"the upload of {self._ref} has ended")
        self._ended = True
        if self._task is None:
            result = await self._put_at_once()
        else:
            await self._hand_over()
            await self._complete_only_if_new()
            await self._pieces.put(None)
            result = await self._result(self._task)
        return Stored((result["e_tag"] or await self._etag()).strip('"'), self._size)

    async def abort(self) -> None:
        """Give it up: neither an object nor parts stay. Nothing happens when it has finished. Never raises for the store's faults."""
        self._ended = self._given_up = True
        self._held.clear()
        if self._task is None:
            return
        self._make_room()
        with contextlib.suppress(asyncio.QueueFull):
            self._pieces.put_nowait(None)
        await asyncio.wait({self._task})

    def exists(self) -> ObjectExists:
        """The error for an object that should not have been there."""
        return ObjectExists(f"there is an object {self._ref} already")

    async def _put_at_once(self) -> PutResult:
        """A small object, without parts; whether there is one already is the store's own decision."""
        import obstore

        data = bytes(self._held)
        self._held.clear()
        mode = "create" if self._if_none_match else "overwrite"
        with translated(self._ref, self._endpoint):
            return await obstore.put_async(
                self._store,
                self._ref.key,
                data,
                attributes=self._attributes,
                mode=mode,  # type: ignore[arg-type]
                use_multipart=False,
            )

    async def _etag(self) -> str:
        """Asked for where the end of an upload in parts does not tell it, as with Ceph."""
        import obstore

        with translated(self._ref, self._endpoint):
            return (await obstore.head_async(self._store, self._ref.key))["e_tag"] or ""

    async def _hand_over(self) -> None:
        """Give what is held to the library, which is started at the first call. Raises what its task has ended with."""
        if self._task is None:
            self._task = asyncio.ensure_future(self._upload())
            self._task.add_done_callback(self._over)
        data = bytes(self._held)
        self._held.clear()
        if data:
            await self._pieces.put(data)
        if self._task.done():
            await self._result(self._task)
            raise UploadFailed(f"the upload of {self._ref} has ended")

    async def _upload(self) -> PutResult:
        import obstore

        settings = self._settings
        return await obstore.put_async(
            self._store,
            self._ref.key,
            self._parts(),
            attributes=self._attributes,
            use_multipart=True,
            chunk_size=settings.part_size,
            max_concurrency=settings.parallel_parts,
        )

    async def _parts(self) -> AsyncIterator[bytes]:
        """What the library pulls, when it has room for more. Raises _GivenUp."""
        while piece := await self._pieces.get():
            if self._given_up:
                break
            yield piece
        if self._given_up:
            raise _GivenUp

    async def _result(self, task: asyncio.Task[PutResult]) -> PutResult:
        """Raises UploadFailed, StorageUnavailable, StorageDenied or ObjectExists. The task goes on when we are cancelled."""
        try:
            with translated(self._ref, self._endpoint):
                return await asyncio.shield(task)
        except ObjectNotFound as error:
            raise UploadFailed(str(error)) from error

    async def _complete_only_if_new(self) -> None:
        """The library has no conditional end of an upload in parts: look again as late as possible."""
        if not self._if_none_match:
            return
        import obstore

        try:
            with translated(self._ref, self._endpoint):
                await obstore.head_async(self._store, self._ref.key)
        except ObjectNotFound:
            return
        except StorageError:
            await self.abort()
            raise
        await self.abort()
        raise self.exists()

    def _over(self, task: asyncio.Task[PutResult]) -> None:
        """The library's task has ended: whoever waits to hand over bytes may go on, and finds out."""
        self._make_room()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, (_GivenUp, PenstockError)):
            _log.debug("the upload of %s has failed: %s", self._ref, type(error).__name__)

    def _make_room(self) -> None:
        while not self._pieces.empty():
            self._pieces.get_nowait()
