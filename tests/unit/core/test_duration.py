from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.duration import format_duration, parse_duration
from penstock.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("-0", 0.0),
        ("+0", 0.0),
        ("30", 30.0),
        ("007", 7.0),
        ("1s", 1.0),
        ("1m30s", 90.0),
        ("1h1m1s", 3661.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1.s", 1.0),
        ("100ms", 0.1),
        ("5us", 5e-6),
        ("5µs", 5e-6),
        ("5μs", 5e-6),
        ("7ns", 7e-9),
        ("-5s", -5.0),
        ("+5s", 5.0),
        ("1s1s", 2.0),
    ],
)
def test_durations_are_read_as_seconds_or_in_go_syntax(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "", "s", "-", "+", ".", ".s", "-30", "+30", "1.5", "1 s", " 1s", "1s ", "1s\n", "30\n", "1d", "1S", "1sm", "1e3s",
        "0x1s", "1,5s", "--1s", "\u0661s", "\uff11s", "٣", "²", "1_0s", "inf", "nan", "1s\0", "1m-30s", "5 µs",
    ],
)  # fmt: skip
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_duration(text)


@given(st.text(alphabet="0123456789.smhnuµ-+ ", max_size=12))
def test_any_text_is_a_number_or_invalid_input(text: str) -> None:
    with contextlib.suppress(InvalidInput):
        assert math.isfinite(parse_duration(text))


@given(st.integers(0, 10**7))
def test_whole_seconds_survive_being_written_and_read(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds
    assert parse_duration(format_duration(-seconds)) == -seconds


@given(st.integers(1, 999))
def test_milliseconds_survive_being_written_and_read(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (1, "1s"),
        (0.25, "250ms"),
        (60, "1m0s"),
        (90, "1m30s"),
        (3600, "1h0m0s"),
        (-90, "-1m30s"),
        (1.5, "1.5s"),
    ],
)
def test_durations_are_written_in_go_syntax(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_number_too_large_to_hold_is_refused() -> None:
    with pytest.raises(InvalidInput):
        parse_duration("9" * 400 + "s")
    with pytest.raises(InvalidInput):
        parse_duration("9" * 400)
