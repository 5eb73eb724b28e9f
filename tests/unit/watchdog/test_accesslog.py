"""Sizes in log lines; the lines themselves are in test_parity."""

from __future__ import annotations

import pytest

from penstock.watchdog.accesslog import human_size


@pytest.mark.parametrize(
    ("size", "shown"),
    [(-1, "-1B"), (0, "0B"), (8, "8B"), (999, "999B"), (1511, "1.511kB"), (15119, "15.12kB"), (1 << 30, "1.074GB")],
)
def test_sizes_have_four_digits_and_a_decimal_unit(size: int, shown: str) -> None:
    assert human_size(size) == shown
