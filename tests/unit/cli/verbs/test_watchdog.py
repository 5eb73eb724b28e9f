"""`penstock watchdog`: flags as the watchdogs have them, and what is said of a bundle."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import pytest

import penstock
from penstock.cli.verbs.watchdog import forget_locale
from penstock.watchdog import app, probe
from penstock.watchdog.bundle import build
from penstock.watchdog.bundle.rehearse import Rehearsal
from penstock.watchdog.bundle.write import Size
from tests.unit.cli.support import run_cli


@pytest.mark.parametrize("flag", ["-version", "--version"])
def test_version_in_both_spellings(flag: str) -> None:
    assert run_cli("watchdog", flag).stdout == f"penstock watchdog {penstock.__version__}\n"


@pytest.mark.parametrize("flag", ["-run-healthcheck", "--run-healthcheck"])
def test_healthcheck_in_both_spellings(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "healthcheck", lambda environ: 1 if environ is os.environ else 9)
    assert run_cli("watchdog", flag).exit_code == 1


def test_without_flags_it_runs_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "run", lambda environ: 3 if environ is os.environ else 9)
    assert run_cli("watchdog").exit_code == 3


@pytest.mark.parametrize(("given", "kept"), [(b"A=1\0", False), (b"LC_CTYPE=C.UTF-8\0A=1\0", True)])
def test_a_locale_that_python_has_made_up_is_not_for_programs(tmp_path: Path, given: bytes, kept: bool) -> None:
    (tmp_path / "given").write_bytes(given)
    environ = {"A": "1", "LC_CTYPE": "C.UTF-8"}
    forget_locale(environ, str(tmp_path / "given"))
    assert ("LC_CTYPE" in environ, environ["A"]) == (kept, "1")
    forget_locale(environ, str(tmp_path / "missing"))


@pytest.mark.parametrize("flag", ["-verbose", "--mode=http", "word", "-v"])
def test_unknown_flags_exit_2(flag: str) -> None:
    assert run_cli("watchdog", flag).exit_code == 2


RESULT = build.Result(
    path=Path("/somewhere/penstock"),
    size=Size(files=700, bytes=40 << 20),
    entrypoint=("/somewhere/penstock/fwatchdog",),
    rehearsal=Rehearsal(seconds=0.08, resident=26 << 20, private=13 << 20),
)


def test_a_bundle_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "make_directory", lambda target, environ: RESULT)
    shown = run_cli("watchdog", "bundle", "penstock").stdout
    assert [line.split(maxsplit=1)[1] for line in shown.splitlines()] == [
        "/somewhere/penstock",
        "40.0 MiB in 700 files",
        "/somewhere/penstock/fwatchdog",
        "after: 80 ms on this machine",
        "26.0 MiB, of which 13.0 MiB are not files'",
    ]


def test_a_bundle_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "make_directory", lambda target, environ: RESULT)
    assert json.loads(run_cli("watchdog", "bundle", "penstock", "--output", "json").stdout) == {
        "path": "/somewhere/penstock",
        "bytes": 40 << 20,
        "files": 700,
        "entrypoint": ["/somewhere/penstock/fwatchdog"],
        "readyMilliseconds": 80.0,
        "residentBytes": 26 << 20,
        "privateBytes": 13 << 20,
    }


def test_an_image_is_described_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made = dataclasses.replace(RESULT, image="watchdog:1")
    monkeypatch.setattr(build, "make_image", lambda reference, target, environ: made if reference == "w" else RESULT)
    shown = run_cli("watchdog", "bundle", "--image", "w", "w.tar", "-j").stdout
    assert json.loads(shown)["image"] == "watchdog:1"


def test_a_bad_name_of_an_image_exits_2_and_writes_nothing(tmp_path: Path) -> None:
    result = run_cli("watchdog", "bundle", "--image", "Upper", str(tmp_path / "w.tar"))
    assert result.exit_code == 2
    assert "'Upper' must be lower-case" in result.stderr
    assert list(tmp_path.iterdir()) == []
