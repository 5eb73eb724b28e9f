"""What object stores post when something happens to an object: the notifications of Amazon S3, as MinIO, Ceph and others send them too.

`control.storageevents` reads request bodies with it. Everything in them is somebody else's text: sizes, kinds and characters are
checked here, once. What the functions of the platform make of an event is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote_plus

import msgspec

from penstock.core.topics import Kind
from penstock.errors import InvalidInput
from penstock.storage.objectevent import ObjectEvent
from penstock.storage.reference import check_bucket_name, check_key, shown

MOST_RECORDS = 10_000
"""In one notification; stores send one, or a few hundred when they have gathered some."""
LONGEST_TEXT = 256
"""Characters of a name, an ETag or a sequencer."""

_AS_IT_IS = "ceph:s3"
"""The `eventSource` whose keys are not encoded; all others encode them as a form is, so that a space is a plus sign."""
_CREATED = ("ObjectCreated:", "ObjectSynced:Create")
_REMOVED = ("ObjectRemoved:", "LifecycleExpiration:", "ObjectLifecycle:Expiration:", "ObjectSynced:Delete")


class Notification(NamedTuple):
    """What was in one: events that functions may be told of, and why others are not among them."""

    events: tuple[ObjectEvent, ...]
    unusable: tuple[str, ...] = ()
    """For the log: records of objects that no request can name."""
    confirm: str = ""
    """Where Amazon's SNS wants its subscription confirmed; empty for anything else."""


class _Bucket(msgspec.Struct):
    name: str = ""


class _Object(msgspec.Struct, rename={"etag": "eTag", "version": "versionId"}):
    key: str = ""
    etag: str | None = ""
    size: int | None = None
    version: str | None = ""
    sequencer: str | None = ""


class _Storage(msgspec.Struct, rename={"object_": "object"}):
    bucket: _Bucket = msgspec.field(default_factory=_Bucket)
    object_: _Object = msgspec.field(default_factory=_Object)


class _Record(msgspec.Struct, rename={"name": "eventName", "source": "eventSource", "time": "eventTime"}):
    name: str
    s3: _Storage
    source: str = ""
    time: str = ""


class _Body(
    msgspec.Struct,
    rename={
        "records": "Records",
        "event": "Event",
        "name": "EventName",
        "key": "Key",
        "kind": "Type",
        "message": "Message",
        "confirm": "SubscribeURL",
    },
):
    records: list[_Record] | None = None
    event: str = ""
    name: str = ""
    key: str = ""
    kind: str = ""
    message: str = ""
    confirm: str = ""


def parse_notification(body: bytes) -> Notification:
    """The events of a request's body. Raises InvalidInput for what is no notification."""
    parsed = _decoded(body)
    if parsed.kind == "SubscriptionConfirmation":
        return Notification((), confirm=parsed.confirm)
    if parsed.kind == "Notification":  # SNS has the store's own words inside its own
        parsed = _decoded(parsed.message.encode(errors="replace"))
    if parsed.records is not None:
        if len(parsed.records) > MOST_RECORDS:
            raise InvalidInput(f"Records: has {len(parsed.records)} entries, at most {MOST_RECORDS} are accepted")
        return _events(parsed.records)
    if parsed.name and parsed.key:  # MinIO's own words, with its records left out
        bucket, _, key = parsed.key.partition("/")
        return _events([_Record(parsed.name, _Storage(_Bucket(bucket), _Object(key)), _AS_IT_IS)])
    if parsed.event == "s3:TestEvent":
        return Notification(())
    raise InvalidInput("the body is no notification of an object store: it has neither Records nor EventName and Key")


def _decoded(body: bytes) -> _Body:
    try:
        return msgspec.json.decode(body, type=_Body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is no notification of an object store: {shown(str(error))}") from error


def _events(records: list[_Record]) -> Notification:
    events: list[ObjectEvent] = []
    unusable: list[str] = []
    for record in records:
        name = record.name.removeprefix("s3:")
        kind = _kind(name)
        if kind is None:
            continue
        try:
            events.append(_event(record, name, kind))
        except InvalidInput as error:
            unusable.append(str(error))
    return Notification(tuple(events), tuple(unusable))


def _kind(name: str) -> Kind | None:
    if name.startswith(_CREATED):
        return "created"
    return "removed" if name.startswith(_REMOVED) else None


def _event(record: _Record, name: str, kind: Kind) -> ObjectEvent:
    """Raises InvalidInput for an object that no request could name, and for texts that no header could carry."""
    stored = record.s3.object_
    bucket, key = record.s3.bucket.name, stored.key
    if record.source != _AS_IT_IS:
        key = unquote_plus(key, errors="surrogateescape")
    check_bucket_name(bucket)
    check_key(key)
    texts = {
        "eventName": name,
        "eTag": (stored.etag or "").strip('"'),
        "versionId": stored.version or "",
        "sequencer": stored.sequencer or "",
        "eventTime": record.time,
    }
    _check_texts(texts)
    if stored.size is not None and not 0 <= stored.size < 1 << 63:
        raise InvalidInput("size: is no number of bytes")
    parts = (texts["sequencer"], texts["versionId"], record.time)
    return ObjectEvent(
        name=f"s3:{name}",
        kind=kind,
        bucket=bucket,
        key=key,
        etag=texts["eTag"],
        size=stored.size,
        identity=" ".join(parts) if texts["sequencer"] or record.time else "",
    )


def _check_texts(texts: Mapping[str, str]) -> None:
    for field, text in texts.items():
        if len(text) > LONGEST_TEXT or not (text.isascii() and (text.isprintable() or not text)):
            raise InvalidInput(f"{field}: {shown(text)} is no text of at most {LONGEST_TEXT} printable characters")
