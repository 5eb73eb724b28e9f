"""The entry of a bundle: its flags, and the environment that it gives back."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import penstock
from penstock.watchdog import app, giveway
from penstock.watchdog.__main__ import give_back, main


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """What `main` freezes for the life of a process is this process's too."""
    yield
    gc.unfreeze()


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, str], str]]:
    """Environments and names that the watchdog was run with."""
    seen: list[tuple[dict[str, str], str]] = []

    def run(environ: Mapping[str, str], *, program: str) -> int:
        seen.append((dict(environ), program))
        return 7

    monkeypatch.setattr(app, "run", run)
    return seen


def test_without_flags_it_serves_under_its_name(ran: list[tuple[dict[str, str], str]]) -> None:
    assert main(["--launched-as", "of-watchdog"], {"LC_ALL": "C", "mode": "http"}) == 7
    assert ran == [({"mode": "http"}, "of-watchdog")]


def test_started_by_hand_the_environment_stays_as_it_is(ran: list[tuple[dict[str, str], str]]) -> None:
    assert main([], {"LC_ALL": "de_DE"}) == 7
    assert ran == [({"LC_ALL": "de_DE"}, "penstock-watchdog")]


@pytest.mark.parametrize("flag", ["-version", "--version"])
def test_version(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([flag], {}) == 0
    assert capfd.readouterr().out == f"penstock watchdog {penstock.__version__}\n"


@pytest.mark.parametrize("flag", ["-run-healthcheck", "--run-healthcheck"])
def test_healthcheck(flag: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([flag], {"TMPDIR": str(tmp_path)}) == 1
    assert "no lock file" in capfd.readouterr().err
    (tmp_path / ".lock").touch()
    assert main([flag], {"TMPDIR": str(tmp_path)}) == 0


@pytest.mark.parametrize("flag", ["--mode", "word", "-v", "", "--launched-as"])
def test_anything_else_is_answered_with_the_usage(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([flag], {}) == 2
    shown = capfd.readouterr()
    assert (shown.out, shown.err.splitlines()[0]) == (
        "",
        "Usage: penstock-watchdog [--version | --run-healthcheck | --give-way | --copy-to DIR]",
    )


@pytest.mark.parametrize("flag", ["-help", "--help"])
def test_help_is_no_error(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main([flag], {}) == 0
    assert capfd.readouterr().out.startswith("Usage: ")


def test_what_the_launcher_put_aside_is_given_back() -> None:
    environ = {"A": "1", "LC_ALL": "C", "PENSTOCK_ASIDE_LD_PRELOAD": "/x.so", "PENSTOCK_ASIDE_LC_ALL": "de_DE"}
    give_back(environ)
    assert environ == {"A": "1", "LC_ALL": "de_DE", "LD_PRELOAD": "/x.so"}


def test_the_healthcheck_imports_next_to_nothing() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop()); from penstock.watchdog.__main__ import main;"
        "main(['--run-healthcheck'], {}); print('asyncio' in sys.modules, 'click' in sys.modules)"
    )
    source = str(Path(penstock.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, source], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout == "False False\n"


def test_giving_way_without_another_watchdog_it_serves_with_plain_logs(
    ran: list[tuple[dict[str, str], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giveway, "own_watchdog", lambda environ: "")
    assert main(["--launched-as", "penstock-watchdog", "--give-way"], {"LC_ALL": "C"}) == 7
    assert main(["--give-way"], {"prefix_logs": "true"}) == 7
    assert ran == [({"prefix_logs": "false"}, "penstock-watchdog"), ({"prefix_logs": "true"}, "penstock-watchdog")]


def test_another_watchdog_has_the_environment_of_the_container(tmp_path: Path) -> None:
    other = tmp_path / "fwatchdog"
    other.write_text('#!/bin/sh\necho "$0" "$LC_ALL" "$#"\n')
    other.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "penstock.watchdog", "--launched-as", "penstock-watchdog", "--give-way"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "LC_ALL": "C", "PENSTOCK_ASIDE_LC_ALL": "de_DE"},
    )
    assert done.stdout == f"{other} de_DE 0\n"


def test_another_watchdog_that_cannot_be_started_is_told_and_replaced(
    ran: list[tuple[dict[str, str], str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "fwatchdog"
    other.write_bytes(b"\x7fELF")
    other.chmod(0o755)
    assert main(["--give-way"], {"PATH": str(tmp_path)}) == 7
    assert capfd.readouterr().err == (
        f"penstock-watchdog: {other} cannot be started (Exec format error), this serves in its place\n"
    )


def test_only_a_bundle_can_be_copied(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--copy-to", str(tmp_path / "place")], {}) == 1
    assert "--copy-to: there is no bundle at" in capfd.readouterr().err
