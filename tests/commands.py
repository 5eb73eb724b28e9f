"""The command line on a machine without logins and without a gateway of its own, for the tests of every stage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.cli.support import ScriptedGateway


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
    """A scripted gateway, which commands call where nothing else is said."""
    server = ScriptedGateway()
    monkeypatch.setenv("PENSTOCK_URL", server.url)
    yield server
    server.close()
