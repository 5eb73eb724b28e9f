"""Which functions an object's arrival or removal concerns, and where what such a function writes goes: annotations, read.

A provider checks them where it accepts a function, `penstock.storage.delivery` asks for each event. References as a whole are judged
in `penstock.storage.reference`; here their text is only put together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

from penstock.errors import InvalidInput

TOPIC = "topic"
"""The annotation in which functions name topics, as OpenFaaS' connectors know it; topics that do not begin with `s3:` are theirs."""
OUTPUT = "com.penstock.storage.output"
EVENTS = "com.penstock.storage.events"
BUCKETS = "com.penstock.storage.buckets"
KNOWN = frozenset({OUTPUT, EVENTS, BUCKETS})
"""Annotations of object storage; another one that begins as they do is a slip of the finger."""
_OURS = OUTPUT.removesuffix("output")

Kind = Literal["created", "removed"]
KINDS: tuple[Kind, ...] = ("created", "removed")

MOST_TOPICS = 100
"""Of one function: each is compared with each event."""
LONGEST_KEY = 1024
"""Bytes of a key, as S3 has it."""

_SCHEME = "s3:"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_PLACE = re.compile(r"\{([^{}]*)\}")
_PLACES = ("key", "name", "stem", "etag")


class Topic(NamedTuple):
    """Objects of a bucket whose key begins with `prefix` and ends with `suffix`; empty ones leave everything in."""

    bucket: str
    prefix: str = ""
    suffix: str = ""

    def covers(self, bucket: str, key: str) -> bool:
        return bucket == self.bucket and key.startswith(self.prefix) and key.endswith(self.suffix)


class Output(NamedTuple):
    """`s3://bucket/` and a key made of texts and places, such as `("thumbs/", "{stem}", ".png")`."""

    bucket: str
    parts: tuple[str, ...]

    def key(self, key: str, etag: str) -> str:
        """The key that is written for the object `key`. Raises InvalidInput for one that is empty or too long."""
        name = key.rstrip("/").rpartition("/")[2]
        stem, dot, _ = name.rpartition(".")
        values = {"{key}": key, "{name}": name, "{stem}": stem if dot and stem else name, "{etag}": etag}
        written = "".join([values.get(part, part) for part in self.parts])
        if not written or len(written.encode()) > LONGEST_KEY:
            raise InvalidInput(
                f"annotations: {OUTPUT}: makes a key of {len(written.encode())} bytes, keys have 1 to {LONGEST_KEY}"
            )
        return written


class Subscription(NamedTuple):
    """What a function wants to be told, and what becomes of its answer."""

    topics: tuple[Topic, ...]
    kinds: tuple[Kind, ...] = ("created",)
    output: Output | None = None

    def covers(self, kind: Kind, bucket: str, key: str) -> bool:
        return kind in self.kinds and any(topic.covers(bucket, key) for topic in self.topics)


def subscription_of(annotations: Mapping[str, str]) -> Subscription | None:
    """What the annotations ask for; None where no topic is one of object storage. Raises InvalidInput naming the annotation."""
    topics = parse_topics(annotations.get(TOPIC, ""))
    kinds = _kinds(annotations.get(EVENTS, ""))
    text = annotations.get(OUTPUT, "")
    output = parse_output(text) if text else None
    return Subscription(topics, kinds, output) if topics else None


def check_topics(annotations: Mapping[str, str]) -> None:
    """Raises InvalidInput for topics of object storage that cannot be read, and for annotations of it that do not exist."""
    for name in annotations:
        if name.startswith(_OURS) and name not in KNOWN:
            raise InvalidInput(f"annotations: there is no {name[:200]!r}; there are {', '.join(sorted(KNOWN))}")
    subscription_of(annotations)


def parse_topics(text: str) -> tuple[Topic, ...]:
    """The topics of object storage in a list with commas. Raises InvalidInput."""
    topics = [_topic(word.strip()) for word in text.split(",") if word.strip().startswith(_SCHEME)]
    if len(topics) > MOST_TOPICS:
        raise InvalidInput(f"annotations: {TOPIC}: has {len(topics)} topics, at most {MOST_TOPICS} are accepted")
    return tuple(topics)


def parse_output(text: str) -> Output:
    """`s3://bucket/key` with places. Raises InvalidInput."""
    bucket, slash, key = text.removeprefix("s3://").partition("/")
    if not text.startswith("s3://") or not slash or not key or not _BUCKET.fullmatch(bucket):
        raise InvalidInput(
            f"annotations: {OUTPUT}: {text[:200]!r} is no reference such as s3://bucket/{{key}}.png (the bucket is named, not a place)"
        )
    parts = []
    for number, part in enumerate(_PLACE.split(key)):
        if number % 2 and part not in _PLACES:
            known = ", ".join(f"{{{place}}}" for place in _PLACES)
            raise InvalidInput(f"annotations: {OUTPUT}: {part[:100]!r} is no place, there are {known}")
        if number % 2:
            parts.append(f"{{{part}}}")
        elif "{" in part or "}" in part:
            raise InvalidInput(f"annotations: {OUTPUT}: {text[:200]!r} has a lone brace; write %7B or %7D for it")
        elif part:
            parts.append(_decoded(OUTPUT, part))
    return Output(bucket, tuple(parts))


def _topic(text: str) -> Topic:
    """`s3:bucket`, `s3:bucket:prefix` or `s3:bucket:prefix:suffix`; a star may end the prefix and begin the suffix."""
    bucket, *rest = text.removeprefix(_SCHEME).split(":")
    if not _BUCKET.fullmatch(bucket) or len(rest) > 2:
        raise InvalidInput(
            f"annotations: {TOPIC}: {text[:200]!r} is not s3:bucket, s3:bucket:prefix* or s3:bucket:prefix*:suffix"
            " (write %3A for a colon and %2C for a comma of a key)"
        )
    prefix, suffix = (*rest, "", "")[:2]
    prefix, suffix = prefix.removesuffix("*"), suffix.removeprefix("*")
    if "*" in prefix or "*" in suffix:
        raise InvalidInput(
            f"annotations: {TOPIC}: {text[:200]!r}: a star ends the prefix or begins the suffix; write %2A for one of a key"
        )
    return Topic(bucket, _decoded(TOPIC, prefix), _decoded(TOPIC, suffix))


def _kinds(text: str) -> tuple[Kind, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in KINDS:
            raise InvalidInput(f"annotations: {EVENTS}: {word[:100]!r} is unknown, use created, removed or both")
    return tuple(kind for kind in KINDS if kind in words) or ("created",)


def _decoded(annotation: str, text: str) -> str:
    """With `%XX` as the byte that it stands for (RFC 3986 §2.1)."""
    if _BROKEN_ESCAPE.search(text):
        raise InvalidInput(
            f"annotations: {annotation}: {text[:200]!r} has a % without two hexadecimal digits; write %25 for it"
        )
    try:
        return _ESCAPE.sub(lambda found: bytes.fromhex(found[1].decode()), text.encode()).decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"annotations: {annotation}: {text[:200]!r} is not UTF-8 once decoded") from error
