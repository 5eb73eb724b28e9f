"""A watchdog in this process, and watchdogs as processes."""

from __future__ import annotations

from tests.watchdogs import launch, reserved_port
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
    "launch",
    "pytest_asyncio_loop_factories",
    "reserved_port",
    "script",
    "start",
    "subreaper",
    "until",
]
