"""The saved logins: shared with faas-cli, private, never half written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import yaml

from penstock.cli.config import basic_token, config_path, remove_login, save_login, saved_authorization
from penstock.errors import PenstockError

URL = "http://127.0.0.1:8080"


def test_the_path_is_faas_clis(tmp_path: Path) -> None:
    assert config_path({}) == tmp_path / "user" / ".openfaas" / "config.yml"
    assert config_path({"OPENFAAS_CONFIG": "/etc/faas"}) == Path("/etc/faas/config.yml")


def test_file_and_directory_are_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config.yml"
    save_login(path, URL, basic_token("admin", "pw"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert os.listdir(path.parent) == ["config.yml"]


def test_a_loose_file_becomes_private_when_written(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("auths: []\n")
    path.chmod(0o644)
    save_login(path, URL, "dG9r")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_basic_and_a_bearer_login_are_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "auths:\n- gateway: http://a:1\n  auth: basic\n  token: YWRtaW46cHc=\n"
        "- gateway: http://b:1\n  auth: oauth2\n  token: jwt\n  options: []\n"
    )
    assert saved_authorization(path, "http://a:1") == "Basic YWRtaW46cHc="
    assert saved_authorization(path, "http://b:1") == "Bearer jwt"
    assert saved_authorization(path, "http://c:1") == ""


def test_a_login_saved_in_lower_case_or_with_a_slash_is_found(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text("auths:\n- {gateway: 'http://host/faas/', auth: basic, token: dA==}\n")
    assert saved_authorization(path, "http://host/FaaS") == "Basic dA=="


def test_unknown_keys_and_other_logins_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    before = {
        "auths": [{"gateway": "http://other", "auth": "oauth2", "token": "t", "options": [{"name": "x"}]}],
        "more": {"a": 1},
    }
    path.write_text(yaml.safe_dump(before))
    save_login(path, URL, "dG9r")
    save_login(path, URL, "bmV3")
    after = yaml.safe_load(path.read_text())
    assert after["more"] == {"a": 1}
    assert after["auths"] == [*before["auths"], {"gateway": URL, "auth": "basic", "token": "bmV3"}]
    assert remove_login(path, URL)
    assert yaml.safe_load(path.read_text()) == before
    assert not remove_login(path, URL)


def test_a_symbolic_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yml", tmp_path / "config.yml"
    real.write_text("auths: []\n")
    link.symlink_to(real)
    save_login(link, URL, "dG9r")
    assert link.is_symlink()
    assert "dG9r" in real.read_text()


@pytest.mark.parametrize(
    "text", ["a: [", "- 1\n", "text", "auths: 5\n", "auths: [1]\n", "\x00", "!!python/object:os.system {}"]
)
def test_a_broken_file_is_named_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    for use in (lambda: saved_authorization(path, URL), lambda: save_login(path, URL, "x")):
        with pytest.raises(PenstockError, match=r"config\.yml"):
            use()
    assert path.read_text() == text


def test_an_unreadable_or_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yml").mkdir()
    with pytest.raises(PenstockError, match="cannot read"):
        saved_authorization(tmp_path / "config.yml", URL)
    (tmp_path / "file").write_text("")
    with pytest.raises(PenstockError, match="cannot"):
        save_login(tmp_path / "file" / "config.yml", URL, "x")


@pytest.mark.parametrize("text", ["", "auths:\n", "{}\n"])
def test_an_empty_file_holds_no_logins(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yml").write_text(text)
    assert saved_authorization(tmp_path / "config.yml", URL) == ""
