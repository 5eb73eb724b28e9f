"""What happened to an object, and by which id a function is told of it. Pure: what stores send and what the poller sees become this."""

from __future__ import annotations

import hashlib
import uuid

import msgspec

from penstock.core.topics import Kind
from penstock.storage.reference import ObjectRef


class ObjectEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One object came, changed or went."""

    name: str
    """In S3's words and with its prefix, such as `s3:ObjectCreated:Put`."""
    kind: Kind
    bucket: str
    key: str
    """As the store knows it, not encoded."""
    etag: str = ""
    """Without quotes."""
    size: int | None = None
    """Bytes."""
    identity: str = ""
    """What tells this event from another of the same object, so that one that is told twice is known again; empty where the store
    says nothing that could."""

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef(self.bucket, self.key)


def call_id(event: ObjectEvent, function: str) -> str:
    """The call id of a function (`name.namespace`) that is told of an event: the same each time, unless the event has no identity.

    A UUID of version 8 (RFC 9562 §5.8), whose bits are a digest.
    """
    if not event.identity:
        return str(uuid.uuid4())
    parts = (function, event.kind, event.bucket, event.key, event.etag, event.identity)
    digest = hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).digest()
    number = int.from_bytes(digest[:16])
    number = number & ~(0xF << 76) | 8 << 76
    return str(uuid.UUID(int=number & ~(0x3 << 62) | 2 << 62))
