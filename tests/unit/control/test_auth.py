"""The admin account on disk, the check of a request's credentials, and the guard."""

from __future__ import annotations

import base64
import logging
import os
import stat
from pathlib import Path

import pytest
from starlette.responses import Response

from penstock.control.auth import Credentials, Guard, load_credentials
from penstock.errors import SettingsError
from penstock.settings import Home
from tests.unit.control.support import BASIC, PASSWORD, USER, Client

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


# Guard


def guarded(credentials: Credentials | None, authorization: str | None = None) -> Client:
    paths = frozenset(("/healthz", "/system/info", "/later/admin"))
    return Client(Guard(Response("reached"), credentials, frozenset(("/healthz",)), paths), authorization)


async def test_a_refusal_has_exactly_the_bytes_clients_know() -> None:
    answer = await guarded(ADMIN).get("/system/info")
    assert (answer.status, answer.body) == (401, b"invalid credentials")
    assert answer.headers["www-authenticate"] == 'Basic realm="Restricted"'


async def test_right_credentials_reach_the_application() -> None:
    assert (await guarded(ADMIN, BASIC).get("/system/info")).text == "reached"


async def test_a_public_path_needs_none() -> None:
    assert (await guarded(ADMIN).get("/healthz")).text == "reached"


@pytest.mark.parametrize(
    "path",
    [
        "/system",
        "/system/",
        "/system/unknown",
        "//system/info",
        "/system//info",
        "/system/../healthz",
        "/ui",
        "/ui/x",
        "/later/admin",
        "/later/anything",
    ],
)
async def test_every_path_below_a_guarded_branch_is_refused_whether_it_exists_or_not(path: str) -> None:
    assert (await guarded(ADMIN).get(path)).status == 401


@pytest.mark.parametrize("path", ["/", "/favicon.ico", "/systems", "/healthz/x"])
async def test_a_branch_without_guarded_routes_is_left_to_the_router(path: str) -> None:
    assert (await guarded(ADMIN).get(path)).text == "reached"


@pytest.mark.parametrize("authorization", [None, "Bearer ", "Basic nonsense", BASIC])
async def test_without_authentication_every_authorization_is_ignored(authorization: str | None) -> None:
    assert (await guarded(None, authorization).get("/system/info")).text == "reached"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8080"},
    ],
)
@pytest.mark.parametrize("credentials", [ADMIN, None])
async def test_a_page_of_another_site_cannot_change_anything(
    credentials: Credentials | None, headers: dict[str, str]
) -> None:
    answer = await guarded(credentials, BASIC).call("POST", "/system/info", headers=headers)
    assert answer.status == 403
    assert "another site" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:8080"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "http://127.0.0.1:8080"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://gw.example", "X-Forwarded-Host": "gw.example"},
    ],
)
async def test_clients_and_our_own_pages_can(headers: dict[str, str]) -> None:
    assert (await guarded(ADMIN, BASIC).call("POST", "/system/info", headers=headers)).text == "reached"


async def test_a_page_of_another_site_may_link_to_us() -> None:
    answer = await guarded(ADMIN, BASIC).call("GET", "/system/info", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.text == "reached"


@pytest.mark.parametrize("host", ["evil.example:8080", "192.0.2.1", "localhost.evil.example", "[bad", "0.0.0.0:8080"])
async def test_without_authentication_a_host_that_is_not_loopback_is_refused(host: str) -> None:
    answer = await guarded(None).call("GET", "/system/info", headers={"Host": host})
    assert answer.status == 403


@pytest.mark.parametrize("host", ["localhost:8080", "127.0.0.1", "127.1.2.3:1", "[::1]:8080", "gw.localhost", ""])
async def test_without_authentication_loopback_hosts_are_served(host: str) -> None:
    answer = await guarded(None).call("GET", "/system/info", headers={"Host": host})
    assert answer.text == "reached"


async def test_with_authentication_any_host_is_served() -> None:
    answer = await guarded(ADMIN, BASIC).call("GET", "/system/info", headers={"Host": "gateway.example"})
    assert answer.text == "reached"
