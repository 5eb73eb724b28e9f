"""Fixtures of the end-to-end tests: one running Penstock with the examples, shared, because a start costs seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.serving import Penstock


@pytest.fixture(scope="session")
def penstock() -> Iterator[Penstock]:
    """`penstock serve --examples`, for tests that leave it as they found it."""
    running = Penstock("--examples")
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, f"penstock serve ended with {code} after SIGTERM"
