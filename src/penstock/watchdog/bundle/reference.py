"""Names of images, as Docker understands them: `[host[:port]/]path[:tag]`.

The grammar is that of the distribution project's reference package, without digests: a bundle has none before it is made.
"""

from __future__ import annotations

import re

from penstock.errors import InvalidInput

_NAME_MOST = 255
_HOST = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?)*(:[0-9]+)?")
_PART = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_reference(text: str) -> str:
    """The name with its tag, `latest` when it has none. Raises InvalidInput that says which part is wrong."""
    if "@" in text:
        raise InvalidInput(f"image {text!r}: a name with a digest (@) cannot be given to a new image")
    name, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        name, tag = text, "latest"
    if not _TAG.fullmatch(tag):
        raise InvalidInput(
            f"image {text!r}: the tag {tag!r} must be 1 to 128 letters, digits, '_', '.', '-', and not begin with '.' or '-'"
        )
    if len(name) > _NAME_MOST:
        raise InvalidInput(f"image {text!r}: the name is longer than {_NAME_MOST} characters")
    first, *parts = name.split("/")
    if parts and (set(".:") & set(first) or first == "localhost" or first != first.lower()):
        if not _HOST.fullmatch(first):
            raise InvalidInput(f"image {text!r}: {first!r} is not a registry's host")
    else:
        parts = [first, *parts]
    for part in parts:
        if not _PART.fullmatch(part):
            raise InvalidInput(
                f"image {text!r}: {part!r} must be lower-case letters and digits, with single '.', '_', '__' or '-' between"
            )
    if _DIGEST.fullmatch(name):
        raise InvalidInput(f"image {text!r}: a name of 64 hexadecimal digits is an image's id")
    return f"{name}:{tag}"
