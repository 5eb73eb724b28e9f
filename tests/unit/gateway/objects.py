"""A store in memory for the tests of requests by reference, which fails and stops where it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from penstock.errors import PenstockError
from penstock.storage.attributes import Attributes
from penstock.storage.errors import ObjectExists, ObjectNotFound, RangeNotSatisfiable
from penstock.storage.reference import ObjectRef

PIECE = 64 << 10
NONE: Attributes = MappingProxyType({})


class FakeStored(NamedTuple):
    etag: str
    size: int


class FakeHead(NamedTuple):
    size: int


class FakeStream:
    """An object, piece by piece; `given` counts the bytes that were asked for."""

    def __init__(self, store: FakeStore, data: bytes, first: int, last: int) -> None:
        self.size, self.first, self.last = len(data), first, last
        self.attributes = dict(store.attributes)
        self.given = 0
        self.closed = False
        self._store = store
        self._data = data[first : last + 1]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.given < len(self._data):
            if self._store.read_error is not None and self.given >= self._store.read_error_at:
                raise self._store.read_error
            piece = self._data[self.given : self.given + PIECE]
            self.given += len(piece)
            await asyncio.sleep(0)
            yield piece

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class FakeUpload:
    """An upload that remembers how it ended."""

    store: FakeStore
    ref: ObjectRef
    attributes: dict[str, str]
    data: bytearray = field(default_factory=bytearray)
    finished: bool = False
    aborted: bool = False

    async def write(self, data: bytes) -> None:
        await self.store.may_write.wait()
        if self.store.write_error is not None:
            raise self.store.write_error
        self.data += data

    async def finish(self) -> FakeStored:
        await self.store.may_finish.wait()
        if self.store.finish_error is not None:
            raise self.store.finish_error
        self.finished = True
        self.store.objects[self.ref] = bytes(self.data)
        return FakeStored("e-tag", len(self.data))

    async def abort(self) -> None:
        self.store.aborting = True
        await self.store.may_abort.wait()
        self.aborted = not self.finished


class FakeStore:
    """Objects by reference (`gateway.byreference.Objects`)."""

    def __init__(self) -> None:
        self.objects: dict[ObjectRef, bytes] = {}
        self.attributes: dict[str, str] = {}
        self.streams: list[FakeStream] = []
        self.uploads: list[FakeUpload] = []
        self.read_error: Exception | None = None
        self.read_error_at = 0
        self.open_error: PenstockError | None = None
        self.write_error: PenstockError | None = None
        self.finish_error: PenstockError | None = None
        self.aborting = False
        self.may_open, self.may_write, self.may_finish = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.may_abort = asyncio.Event()
        for event in (self.may_open, self.may_write, self.may_finish, self.may_abort):
            event.set()

    def put(self, key: str, data: bytes, bucket: str = "inbox") -> None:
        self.objects[ObjectRef(bucket, key)] = data

    def get(self, key: str, bucket: str = "outbox") -> bytes | None:
        return self.objects.get(ObjectRef(bucket, key))

    async def head(self, ref: ObjectRef) -> FakeHead:
        return FakeHead(len(await self._find(ref)))

    async def read(self, ref: ObjectRef, first: int = 0, last: int | None = None) -> FakeStream:
        data = await self._find(ref)
        end = len(data) - 1 if last is None else min(last, len(data) - 1)
        if first and first >= len(data):
            raise RangeNotSatisfiable(f"{ref} has no byte {first}", len(data))
        stream = FakeStream(self, data, first, end)
        self.streams.append(stream)
        return stream

    async def write(self, ref: ObjectRef, attributes: Attributes = NONE, if_none_match: bool = False) -> FakeUpload:
        if if_none_match and ref in self.objects:
            raise ObjectExists(f"there is an object {ref} already")
        upload = FakeUpload(self, ref, dict(attributes))
        self.uploads.append(upload)
        return upload

    async def _find(self, ref: ObjectRef) -> bytes:
        await self.may_open.wait()
        if self.open_error is not None:
            raise self.open_error
        if ref not in self.objects:
            raise ObjectNotFound(f"there is no object {ref}")
        return self.objects[ref]
