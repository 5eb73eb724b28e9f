"""A watchdog in this process that runs real programs, by each of its modes."""

from __future__ import annotations

from tests.watchdogserver import (
    children,
    descriptors,
    pytest_asyncio_loop_factories,
    script,
    start,
    subreaper,
    until,
)

__all__ = [
    "children",
    "descriptors",
    "pytest_asyncio_loop_factories",
    "script",
    "start",
    "subreaper",
    "until",
]
