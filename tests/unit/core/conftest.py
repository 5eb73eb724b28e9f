"""Hypothesis draws the same examples every time, so that a run is red or green for a reason."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("core", derandomize=True, deadline=None)
settings.load_profile("core")
