"""The identifier of an installation: a setting, or made once and kept."""

from __future__ import annotations

import dataclasses
import stat
from pathlib import Path

import pytest

from penstock.errors import SettingsError
from penstock.providers.installation import installation_of
from penstock.settings import INSTALLATION, ServeSettings


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    return ServeSettings(home=tmp_path / "home")


def test_the_setting_wins_and_leaves_no_file(settings: ServeSettings) -> None:
    assert installation_of(dataclasses.replace(settings, installation="blue")) == "blue"
    assert not settings.paths.installation.exists()


def test_it_is_made_once_and_stays(settings: ServeSettings) -> None:
    first = installation_of(settings)
    assert INSTALLATION.fullmatch(first)
    assert installation_of(settings) == first


def test_two_homes_have_two(tmp_path: Path) -> None:
    assert installation_of(ServeSettings(home=tmp_path / "a")) != installation_of(ServeSettings(home=tmp_path / "b"))


def test_its_file_is_its_owners_and_nothing_else_is_left(settings: ServeSettings) -> None:
    installation_of(settings)
    assert stat.S_IMODE(settings.paths.installation.stat().st_mode) == 0o600
    assert [path.name for path in settings.home.iterdir()] == ["installation"]


@pytest.mark.parametrize("content", [b"", b"\n", b"Not One", b"../up", b"a" * 33, b"\xff\xfe"])
def test_a_file_that_holds_something_else_is_refused_and_named(settings: ServeSettings, content: bytes) -> None:
    settings.home.mkdir()
    settings.paths.installation.write_bytes(content)
    with pytest.raises(SettingsError, match="home/installation"):
        installation_of(settings)
    assert settings.paths.installation.read_bytes() == content


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be used"):
        installation_of(ServeSettings(home=tmp_path / "file"))
