"""The admin account on disk, and the check of a request's credentials."""

from __future__ import annotations

import base64
import logging
import os
import stat
from pathlib import Path

import pytest

from penstock.credentials import Credentials, load_credentials
from penstock.errors import SettingsError
from penstock.settings import Home
from tests.unit.control.support import BASIC, PASSWORD, USER

ADMIN = Credentials(USER, PASSWORD)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write_pair(directory: Path, user: str, password: str) -> None:
    (directory / "basic-auth-user").write_text(user)
    (directory / "basic-auth-password").write_text(password)


# Files


def test_a_first_start_creates_a_private_random_password(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    credentials = load_credentials(home, {})
    assert credentials.user == "admin"
    assert len(credentials.password) >= 40
    assert home.password_file.read_text().strip() == credentials.password
    assert mode_of(home.password_file) == 0o600
    assert mode_of(home.auth) == 0o700
    assert sorted(os.listdir(home.auth)) == ["basic-auth-password", "basic-auth-user"]


def test_two_homes_get_two_passwords(tmp_path: Path) -> None:
    first, second = (load_credentials(Home(tmp_path / name), {}) for name in "ab")
    assert first.password != second.password


def test_a_second_start_keeps_the_password(tmp_path: Path) -> None:
    assert load_credentials(Home(tmp_path), {}) == load_credentials(Home(tmp_path), {})


def test_files_put_there_before_are_honoured_and_trimmed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.auth.mkdir()
    write_pair(home.auth, "  ops \n", "\tpass word\r\n")
    assert load_credentials(home, {}) == Credentials("ops", "pass word")


def test_a_user_file_alone_gets_a_password(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.auth.mkdir()
    home.user_file.write_text("ops")
    assert load_credentials(home, {}).user == "ops"


def test_the_password_is_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        credentials = load_credentials(Home(tmp_path), {})
    assert "generated" in caplog.text
    assert credentials.password not in caplog.text
    assert credentials.password not in repr(credentials)


def test_an_auth_directory_open_to_others_is_closed(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.auth.mkdir()
    home.auth.chmod(0o755)
    load_credentials(home, {})
    assert mode_of(home.auth) == 0o700


def test_secret_mount_path_is_used_instead_of_the_home(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    write_pair(mounted, "admin\n", "mounted-password\n")
    home = Home(tmp_path / "home")
    assert load_credentials(home, {"secret_mount_path": str(mounted)}) == Credentials("admin", "mounted-password")
    assert not home.path.exists()


@pytest.mark.parametrize("missing", ["basic-auth-user", "basic-auth-password"])
def test_a_file_missing_from_secret_mount_path_aborts_the_start_and_is_named(tmp_path: Path, missing: str) -> None:
    write_pair(tmp_path, "admin", "x")
    (tmp_path / missing).unlink()
    with pytest.raises(SettingsError, match=f"{missing} cannot be read"):
        load_credentials(Home(tmp_path / "home"), {"secret_mount_path": str(tmp_path)})


def test_an_empty_password_file_aborts_the_start(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.auth.mkdir()
    write_pair(home.auth, "admin", " \n")
    with pytest.raises(SettingsError, match="basic-auth-password is empty"):
        load_credentials(home, {})


def test_a_password_file_of_no_text_aborts_the_start(tmp_path: Path) -> None:
    write_pair(tmp_path, "admin", "x")
    (tmp_path / "basic-auth-password").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_credentials(Home(tmp_path / "home"), {"secret_mount_path": str(tmp_path)})


# Credentials


def test_the_right_pair_is_accepted_in_any_scheme_case() -> None:
    assert ADMIN.accept(BASIC)
    assert ADMIN.accept(BASIC.replace("Basic", "basic"))


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Basic",
        "Basic ",
        "Bearer ",
        "Bearer " + PASSWORD,
        "Basic !!!",
        "Basic " + base64.b64encode(b"no colon").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        basic(USER, ""),
        basic("", PASSWORD),
        basic(USER, PASSWORD + " "),
        basic(USER, PASSWORD.upper()),
        basic("Admin", PASSWORD),
        basic(USER + ":" + PASSWORD, ""),
        BASIC + "=",
        "Basic \N{SNOWMAN}",
    ],
)
def test_anything_else_is_not(authorization: str) -> None:
    assert not ADMIN.accept(authorization)


def test_a_password_may_contain_colons_and_unicode() -> None:
    assert Credentials("admin", "a:b:ü").accept(basic("admin", "a:b:ü"))
