"""The media type of some bytes by their beginning, as Go servers guess it (WHATWG MIME Sniffing §7).

The classic mode uses it where neither `content_type` nor the request says what the output is.
"""

from __future__ import annotations

import re

LOOK_AT = 512
"""Bytes that decide."""

_HTML = re.compile(
    rb"[\t\n\x0c\r ]*<(?:!DOCTYPE HTML|HTML|HEAD|SCRIPT|IFRAME|H1|DIV|FONT|TABLE|A|STYLE|TITLE|B|BODY|BR|P|!--)[ >]",
    re.IGNORECASE,
)
_COMMENT = re.compile(rb"[\t\n\x0c\r ]*<!--")
_XML = re.compile(rb"[\t\n\x0c\r ]*<\?xml")
_BINARY = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")

_PREFIXES: tuple[tuple[bytes, bytes], ...] = (
    (b"%PDF-", b"application/pdf"),
    (b"%!PS-Adobe-", b"application/postscript"),
    (b"\xfe\xff", b"text/plain; charset=utf-16be"),
    (b"\xff\xfe", b"text/plain; charset=utf-16le"),
    (b"\xef\xbb\xbf", b"text/plain; charset=utf-8"),
    (b"\x00\x00\x01\x00", b"image/x-icon"),
    (b"\x00\x00\x02\x00", b"image/x-icon"),
    (b"BM", b"image/bmp"),
    (b"GIF87a", b"image/gif"),
    (b"GIF89a", b"image/gif"),
    (b"\x89PNG\r\n\x1a\n", b"image/png"),
    (b"\xff\xd8\xff", b"image/jpeg"),
    (b"ID3", b"audio/mpeg"),
    (b"OggS\x00", b"application/ogg"),
    (b"MThd\x00\x00\x00\x06", b"audio/midi"),
    (b"\x1aE\xdf\xa3", b"video/webm"),
    (b"\x00\x01\x00\x00", b"font/ttf"),
    (b"OTTO", b"font/otf"),
    (b"ttcf", b"font/collection"),
    (b"wOFF", b"font/woff"),
    (b"wOF2", b"font/woff2"),
    (b"\x1f\x8b\x08", b"application/x-gzip"),
    (b"PK\x03\x04", b"application/zip"),
    (b"Rar!\x1a\x07\x00", b"application/x-rar-compressed"),
    (b"Rar!\x1a\x07\x01\x00", b"application/x-rar-compressed"),
    (b"\x00asm", b"application/wasm"),
)
_RIFF = {b"WEBPVP": b"image/webp", b"AVI ": b"video/avi", b"WAVE": b"audio/wave"}


def sniff(data: bytes) -> bytes:
    """Media type of the output that begins with `data`."""
    head = data[:LOOK_AT]
    if _HTML.match(head) or _COMMENT.match(head):
        return b"text/html; charset=utf-8"
    if _XML.match(head):
        return b"text/xml; charset=utf-8"
    for prefix, kind in _PREFIXES:
        if head.startswith(prefix):
            return kind
    if head[:4] == b"RIFF":
        for mark, kind in _RIFF.items():
            if head[8:].startswith(mark):
                return kind
    if head[:4] == b"FORM" and head[8:12] == b"AIFF":
        return b"audio/aiff"
    if head[4:8] == b"ftyp" and b"mp4" in head[8:64]:
        return b"video/mp4"
    return b"application/octet-stream" if _BINARY.search(head) else b"text/plain; charset=utf-8"
