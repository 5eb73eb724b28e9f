"""Objects of a real store: what is written is read, whatever the size and the key, and what goes wrong is said."""

from __future__ import annotations

from penstock.storage.objects import ObjectStore
from penstock.storage.reference import ObjectRef
from tests.s3server import S3Server


async def test_what_is_written_is_read(s3: S3Server, bucket: str) -> None:
    store = ObjectStore(s3.settings(bucket), s3.keys)
    upload = await store.write(ObjectRef(bucket, "a"), "text/plain")
    await upload.write(b"hello")
    stored = await upload.finish()
    stream = await store.read(ObjectRef(bucket, "a"))
    assert [piece async for piece in stream] == [b"hello"]
    assert (stream.size, stream.etag, stream.content_type) == (5, stored.etag, "text/plain")
