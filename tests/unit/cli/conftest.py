"""A machine without logins and without a gateway of its own, and a command line that is quick to start."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.commands import bare_machine, gateway
from tests.unit.cli.warm import CommandLine

__all__ = ["bare_machine", "gateway"]


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    """No longer than a module, since tests of others count the children of this process."""
    started = CommandLine()
    yield started
    started.close()
