"""Fixtures of the end-to-end tests: one running Penstock with the examples, shared, because a start costs seconds; a workshop."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving


@pytest.fixture(scope="session")
def penstock() -> Iterator[Penstock]:
    """`penstock serve --examples`, for tests that leave it as they found it."""
    with serving("--examples") as running:
        yield running


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    """A place for the programs of one file's tests."""
    shop = Workshop()
    yield shop
    shop.close()
