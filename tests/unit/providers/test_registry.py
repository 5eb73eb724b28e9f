from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from penstock.errors import SettingsError
from penstock.providers.local import LocalProvider
from penstock.providers.memory import MemoryProvider
from penstock.providers.registry import PLACES, Place, create_provider
from penstock.settings import CHOICES, ServeSettings


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    return ServeSettings(home=tmp_path)


def named(settings: ServeSettings, name: str) -> ServeSettings:
    return dataclasses.replace(settings, provider=name)


def test_providers_are_made_by_name(settings: ServeSettings) -> None:
    assert isinstance(create_provider(named(settings, "memory"), {}), MemoryProvider)
    assert isinstance(create_provider(named(settings, "process"), {"PENSTOCK_RUN_ID": "x"}), LocalProvider)


def test_an_unknown_name_lists_the_known_ones(settings: ServeSettings) -> None:
    with pytest.raises(
        SettingsError, match="'nomad' is unknown, use docker or kubernetes or memory or process or swarm"
    ):
        create_provider(named(settings, "nomad"), {})


def test_every_provider_that_the_settings_accept_has_a_place() -> None:
    assert set(PLACES) == set(CHOICES["provider"])


def test_a_missing_module_asks_for_a_new_installation(settings: ServeSettings) -> None:
    places = {"docker": Place("penstock.providers.absent", "create")}
    with pytest.raises(SettingsError, match="install penstock again"):
        create_provider(named(settings, "docker"), {}, places)


def test_a_missing_extra_comes_with_its_install_line(
    settings: ServeSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needs_extra.py").write_text("import a_library_that_is_not_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    places = {"docker": Place("needs_extra", "create", "docker")}
    with pytest.raises(SettingsError, match=r"pip install 'penstock\[docker\]'"):
        create_provider(named(settings, "docker"), {}, places)
