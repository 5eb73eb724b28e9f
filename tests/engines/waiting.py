"""Waits for conditions, with one deadline for everything that a test machine may be slow at."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE = 120.0
"""Seconds that anything may take; generous, because test machines are shared."""

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str) -> T:
    """The first true value of `condition`. Raises TimeoutError that says what was waited for."""
    end = time.monotonic() + DEADLINE
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {DEADLINE:.0f} s for {what}")
        time.sleep(0.02)
    return value
