"""Which program of an image counts as its own watchdog."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.watchdog import giveway
from penstock.watchdog.giveway import become, own_watchdog
from penstock.watchdog.settings import ORIGINALS


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs, and no other place where images have watchdogs."""
    monkeypatch.setattr(giveway, "PLACES", (str(tmp_path / "usual"),))
    (tmp_path / "usual").mkdir()
    (tmp_path / "bin").mkdir()
    return tmp_path


def program(path: Path, mode: int = 0o755) -> str:
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return str(path)


def test_it_is_found_by_the_path_and_in_the_usual_places(image: Path) -> None:
    usual = program(image / "usual" / "fwatchdog")
    assert own_watchdog({}) == usual
    assert own_watchdog({"PATH": "/nowhere"}) == usual
    named = program(image / "bin" / "fwatchdog")
    assert own_watchdog({"PATH": f"/nowhere:{image}/bin"}) == named


def test_the_names_are_those_of_the_originals_the_usual_one_first(image: Path) -> None:
    assert giveway.NAMES == ORIGINALS
    other = program(image / "bin" / "of-watchdog")
    assert own_watchdog({"PATH": f"{image}/bin"}) == other
    usual = program(image / "usual" / "fwatchdog")
    assert own_watchdog({"PATH": f"{image}/bin"}) == usual


def test_what_is_called_watchdog_alone_is_none_of_them(image: Path) -> None:
    program(image / "bin" / "watchdog")
    assert own_watchdog({"PATH": f"{image}/bin"}) == ""


def test_a_folder_and_a_broken_link_are_no_watchdogs(image: Path) -> None:
    (image / "bin" / "fwatchdog").mkdir()
    (image / "usual" / "fwatchdog").symlink_to("/nowhere/at/all")
    assert own_watchdog({"PATH": f"{image}/bin"}) == ""


@pytest.mark.parametrize("path", ["", ":", ".", "bin", "..:./bin", "a\x00b", "/a\x00b"])
def test_a_path_without_absolute_folders_finds_nothing_where_it_is_called(
    path: str, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(image / "fwatchdog")
    monkeypatch.chdir(image)
    assert own_watchdog({"PATH": path}) == ""


def test_what_cannot_be_started_is_said_and_not_become(image: Path) -> None:
    path = image / "bin" / "fwatchdog"
    path.write_bytes(b"\x7fELF no program")
    path.chmod(0o755)
    assert become(str(path), {}).strerror == "Exec format error"
