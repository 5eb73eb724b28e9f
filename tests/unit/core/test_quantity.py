from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.quantity import MAX_BYTES, parse_bytes
from penstock.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("128Mi", 128 << 20),
        ("1.5Gi", 3 << 29),
        (".5Ki", 512),
        ("1Ei", 1 << 60),
        ("64M", 64_000_000),
        ("1e9", 10**9),
        ("2E3", 2000),
        ("1E", 10**18),
        ("128m", 128 << 20),
        ("1g", 1 << 30),
        ("512kb", 512 << 10),
        ("10b", 10),
        ("1048576", 1 << 20),
    ],
)
def test_amounts_are_read_as_kubernetes_and_docker_write_them(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "128 Mi", "Mi", "-1", "+1", "0", "0.1", "1..2", "1Zi", "1mi", "1MI"),
        *("1e", "1e999", "9" * 25, "8Ei", "\uff11", "1\n", "NaN", "inf"),
    ],
)
def test_what_is_no_usable_amount_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_bytes(text)


@given(st.text())
def test_any_text_gives_a_bounded_number_or_invalid_input(text: str) -> None:
    try:
        amount = parse_bytes(text)
    except InvalidInput:
        return
    assert 1 <= amount <= MAX_BYTES
