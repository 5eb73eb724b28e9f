"""`penstock watchdog`: flags as the watchdogs have them."""

from __future__ import annotations

import os

import pytest

import penstock
from penstock.watchdog import app
from tests.unit.cli.support import run_cli


@pytest.mark.parametrize("flag", ["-version", "--version"])
def test_version_in_both_spellings(flag: str) -> None:
    assert run_cli("watchdog", flag).stdout == f"penstock watchdog {penstock.__version__}\n"


@pytest.mark.parametrize("flag", ["-run-healthcheck", "--run-healthcheck"])
def test_healthcheck_in_both_spellings(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "healthcheck", lambda environ: 1 if environ is os.environ else 9)
    assert run_cli("watchdog", flag).exit_code == 1


def test_without_flags_it_runs_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "run", lambda environ: 3 if environ is os.environ else 9)
    assert run_cli("watchdog").exit_code == 3


@pytest.mark.parametrize("flag", ["-verbose", "--mode=http", "word", "-v"])
def test_unknown_flags_exit_2(flag: str) -> None:
    assert run_cli("watchdog", flag).exit_code == 2
