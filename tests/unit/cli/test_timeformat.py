"""Timestamps in named, Go and strftime formats."""

from __future__ import annotations

import pytest

from penstock.cli.timeformat import time_formatter

MOMENT = "2026-01-02T15:04:05.120456789Z"


@pytest.mark.parametrize(
    ("layout", "text"),
    [
        ("RFC3339", "2026-01-02T15:04:05Z"),
        ("rfc3339nano", "2026-01-02T15:04:05.120456Z"),
        ("Kitchen", "3:04PM"),
        ("ANSIC", "Fri Jan  2 15:04:05 2026"),
        ("UnixDate", "Fri Jan  2 15:04:05 UTC 2026"),
        ("RFC1123Z", "Fri, 02 Jan 2026 15:04:05 +0000"),
        ("StampMilli", "Jan  2 15:04:05.120"),
        ("2006-01-02 15:04:05.999", "2026-01-02 15:04:05.12"),
        ("02/01/06 03:04:05 pm", "02/01/26 03:04:05 pm"),
        ("Monday, 2 January", "Friday, 2 January"),
        ("%H:%M", "15:04"),
        ("plain", "plain"),
    ],
)
def test_layouts(layout: str, text: str) -> None:
    assert time_formatter(layout)(MOMENT) == text


def test_offsets_are_kept() -> None:
    assert time_formatter("RFC3339")("2026-01-02T15:04:05+02:00") == "2026-01-02T15:04:05+02:00"


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z"])
def test_what_is_no_timestamp_passes_unchanged(text: str) -> None:
    assert time_formatter("RFC3339")(text) == text
