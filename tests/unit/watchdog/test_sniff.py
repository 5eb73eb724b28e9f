"""Media types by the first bytes."""

from __future__ import annotations

import pytest

from penstock.watchdog.sniff import sniff


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"plain words", b"text/plain; charset=utf-8"),
        ("é".encode(), b"text/plain; charset=utf-8"),
        (b"  <!DOCTYPE html>", b"text/html; charset=utf-8"),
        (b"<p>x", b"text/html; charset=utf-8"),
        (b"<pre>", b"text/plain; charset=utf-8"),
        (b"<!-- x", b"text/html; charset=utf-8"),
        (b"<?xml version", b"text/xml; charset=utf-8"),
        (b'{"a": 1}', b"text/plain; charset=utf-8"),
        (b"\x89PNG\r\n\x1a\n", b"image/png"),
        (b"\xff\xd8\xff\xe0", b"image/jpeg"),
        (b"GIF89a", b"image/gif"),
        (b"RIFF....WEBPVP8 ", b"image/webp"),
        (b"RIFF....WAVE", b"audio/wave"),
        (b"\0\0\0\x18ftypmp42", b"video/mp4"),
        (b"%PDF-1.7", b"application/pdf"),
        (b"\x1f\x8b\x08\0", b"application/x-gzip"),
        (b"PK\x03\x04", b"application/zip"),
        (b"\0\1\2\3", b"application/octet-stream"),
        (b"text" * 200 + b"\0", b"text/plain; charset=utf-8"),
    ],
)
def test_sniff(data: bytes, kind: bytes) -> None:
    assert sniff(data) == kind
