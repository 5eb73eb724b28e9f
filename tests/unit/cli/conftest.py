"""A machine without logins and without a gateway of its own, and a scripted gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.support import ScriptedGateway
from tests.unit.cli.warm import CommandLine


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PENSTOCK_URL", "OPENFAAS_URL", "OPENFAAS_CONFIG", "PENSTOCK_DEBUG", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedGateway]:
    server = ScriptedGateway()
    monkeypatch.setenv("PENSTOCK_URL", server.url)
    yield server
    server.close()


@pytest.fixture(scope="module")
def command_line() -> Iterator[CommandLine]:
    """No longer than a module, since tests of others count the children of this process."""
    started = CommandLine()
    yield started
    started.close()
