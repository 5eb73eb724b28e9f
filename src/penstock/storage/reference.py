"""References to objects: `s3://bucket/key`, as requests and people write them. Pure; used by everything about storage.

The key is percent-encoded UTF-8, decoded once, so that every key fits into a header of ASCII: a space is `%20`, a percent sign
is `%25`. Nothing else is special in it: `+`, `?`, `#` and `=` stand for themselves. Characters beyond ASCII may be written as
they are where the place can hold them, such as a command line.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from penstock.errors import InvalidInput
from penstock.storagesettings import BUCKET_RULE, is_bucket_name

MAX_KEY = 1024
"""Bytes of a key in UTF-8, a limit of S3 itself."""

_SCHEME = "s3://"
_STRAY_PERCENT = re.compile(r"%(?![0-9a-fA-F]{2})")
_PLAIN = "/!$&'()*+,;=:@?~"
"""Besides letters, digits and `_.-`: characters of keys that `str` leaves as they are."""


class ObjectRef(NamedTuple):
    """An object: `key` is text as the store knows it, not encoded."""

    bucket: str
    key: str

    def __str__(self) -> str:
        """As `parse_reference` reads it: ASCII only."""
        return f"{_SCHEME}{self.bucket}/{quote(self.key, safe=_PLAIN)}"


class Location(NamedTuple):
    """All objects of a bucket whose keys begin with `prefix`, which may be empty."""

    bucket: str
    prefix: str


def parse_reference(text: str) -> ObjectRef:
    """The object that a text such as `s3://bucket/path/to/key%20with%20spaces` names. Raises InvalidInput."""
    bucket, key = parse_location(text)
    if not key:
        raise InvalidInput(f"{shown(text)} names no object: write s3://BUCKET/KEY")
    check_key(key)
    return ObjectRef(bucket, key)


def parse_location(text: str) -> Location:
    """The bucket, and what its keys shall begin with, that a text such as `s3://bucket/prefix` names. Raises InvalidInput."""
    if not text.startswith(_SCHEME):
        raise InvalidInput(f"{shown(text)} is no reference of an object: write s3://BUCKET/KEY")
    bucket, _, encoded = text.removeprefix(_SCHEME).partition("/")
    check_bucket_name(bucket)
    if _STRAY_PERCENT.search(encoded):
        raise InvalidInput(f"{shown(text)}: a percent sign in a key is written %25")
    try:
        return Location(bucket, unquote_to_bytes(encoded).decode())
    except UnicodeError as error:
        raise InvalidInput(f"{shown(text)}: the key is not UTF-8") from error


def check_bucket_name(name: str) -> None:
    """Raises InvalidInput for what no bucket can be called."""
    if not is_bucket_name(name):
        raise InvalidInput(f"{shown(name)} is no name of a bucket: {BUCKET_RULE}")


def check_key(key: str) -> None:
    """Raises InvalidInput for a key that is empty, too long, has control characters, or that HTTP would not carry unchanged.

    Paths of URLs are normalised on their way (RFC 3986 §6.2.2.3): a segment `.` or `..` would name another object.
    """
    if not key:
        raise InvalidInput("the key of the object is empty")
    if len(key.encode(errors="surrogatepass")) > MAX_KEY:
        raise InvalidInput(f"the key {shown(key)} is longer than {MAX_KEY} bytes")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in key):
        raise InvalidInput(f"the key {shown(key)} has control characters")
    if not key.isascii() and any(0xD800 <= ord(character) < 0xE000 for character in key):
        raise InvalidInput(f"the key {shown(key)} is not UTF-8")
    if {"", ".", ".."}.intersection(key.split("/")):
        raise InvalidInput(
            f"the key {shown(key)} cannot be reached over HTTP: no part of it between slashes may be empty, '.' or '..'"
        )


def shown(text: str) -> str:
    """Text from outside, short and safe for a message or a line of a log."""
    return ascii(text if len(text) <= 100 else f"{text[:97]}...")
