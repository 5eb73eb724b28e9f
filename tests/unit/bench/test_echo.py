from __future__ import annotations

import pytest

from bench.echo import content_length


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
        (b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n", 12),
        (b"POST / HTTP/1.1\r\ncontent-length:7\r\nHost: a\r\n\r\n", 7),
        (b"GET / HTTP/1.1\r\nX-Content-Length: 7\r\n\r\n", 0),
    ],
)
def test_the_length_of_a_body_is_read_from_its_own_field(head: bytes, length: int) -> None:
    assert content_length(head) == length
