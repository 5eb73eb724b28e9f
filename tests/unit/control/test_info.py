"""`/system/info`: nothing in it may be null or empty."""

from __future__ import annotations

import platform
from importlib import metadata

import pytest

import penstock
from penstock.control.info import installed_commit
from tests.unit.control.support import Client


async def test_info_names_provider_and_versions(client: Client) -> None:
    answer = await client.get("/system/info")
    assert answer.status == 200
    info = answer.json
    assert info["provider"]["provider"] == "penstock-memory"
    assert info["provider"]["orchestration"]
    assert info["provider"]["version"]["release"] == penstock.__version__
    assert info["version"]["release"] == penstock.__version__
    assert info["version"]["sha"]
    assert info["provider"]["version"]["sha"]
    assert info["arch"] == platform.machine()


@pytest.mark.parametrize(
    ("record", "commit"),
    [
        (None, "unknown"),
        ('{"url": "file:///src", "dir_info": {"editable": true}}', "unknown"),
        ('{"url": "https://example.org/p.git", "vcs_info": {"vcs": "git", "commit_id": "abc123"}}', "abc123"),
    ],
)
def test_the_commit_is_what_pip_recorded(monkeypatch: pytest.MonkeyPatch, record: str | None, commit: str) -> None:
    class Installed:
        def read_text(self, name: str) -> str | None:
            assert name == "direct_url.json"
            return record

    monkeypatch.setattr(metadata, "distribution", lambda name: Installed())
    assert installed_commit() == commit


def test_the_commit_of_a_package_that_is_not_installed_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert installed_commit() == "unknown"
