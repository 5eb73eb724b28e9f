"""Fixtures of control as a process."""

from __future__ import annotations

from tests.directories import directory

__all__ = ["directory"]
