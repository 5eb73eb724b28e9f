"""Logins from Docker's config.json and from credential helpers, and files that hold none."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.providers.containers.credentials import HUB_SERVER, Credentials, Login


def keep(folder: Path, config: Any) -> Credentials:
    """Credentials of a user whose config.json is in the folder, where helpers are as well."""
    (folder / "config.json").write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    return Credentials({"DOCKER_CONFIG": str(folder), "PATH": f"{folder}:/usr/bin:/bin"}, helper_timeout=60.0)


def add_helper(folder: Path, name: str, script: str) -> None:
    helper = folder / f"docker-credential-{name}"
    helper.write_text(f"#!/bin/sh\n{script}\n")
    helper.chmod(0o755)


def auth(user: str, password: str) -> str:
    return base64.b64encode(f"{user}:{password}".encode()).decode()


def opened(login: Login) -> dict[str, str]:
    document: dict[str, str] = json.loads(base64.urlsafe_b64decode(login.header))
    return document


async def test_a_login_becomes_what_the_engine_wants(tmp_path: Path) -> None:
    credentials = keep(tmp_path, {"auths": {"ghcr.io": {"auth": auth("ann", "pass:wörd")}}})
    login = await credentials.find("ghcr.io")
    assert opened(login) == {"username": "ann", "password": "pass:wörd", "serveraddress": "ghcr.io"}
    assert (login.user, login.trouble) == ("ann", "")


@pytest.mark.parametrize("name", [HUB_SERVER, "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"])
async def test_dockers_own_registry_has_many_names(tmp_path: Path, name: str) -> None:
    login = await keep(tmp_path, {"auths": {name: {"auth": auth("ann", "x")}}}).find("docker.io")
    assert opened(login)["serveraddress"] == HUB_SERVER


@pytest.mark.parametrize("name", ["localhost:5000", "http://localhost:5000", "https://localhost:5000/v2/"])
async def test_a_registry_may_be_kept_as_a_url(tmp_path: Path, name: str) -> None:
    login = await keep(tmp_path, {"auths": {name: {"username": "ann", "password": "x"}}}).find("localhost:5000")
    assert opened(login)["username"] == "ann"


async def test_the_exact_name_of_a_registry_comes_first(tmp_path: Path) -> None:
    auths = {"https://ghcr.io/x": {"auth": auth("old", "x")}, "ghcr.io": {"auth": auth("ann", "x")}}
    assert (await keep(tmp_path, {"auths": auths}).find("ghcr.io")).user == "ann"


async def test_an_identity_token_takes_the_place_of_a_password(tmp_path: Path) -> None:
    entry = {"auth": auth("ann", ""), "identitytoken": "secret"}
    login = await keep(tmp_path, {"auths": {"ghcr.io": entry}}).find("ghcr.io")
    assert opened(login) == {"identitytoken": "secret", "serveraddress": "ghcr.io"}
    assert login.user == "ann"


async def test_home_says_where_the_file_is(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    keep(tmp_path / ".docker", {"auths": {"ghcr.io": {"auth": auth("ann", "x")}}})
    assert (await Credentials({"HOME": str(tmp_path)}).find("ghcr.io")).user == "ann"


@pytest.mark.parametrize("environ", [{}, {"HOME": "/nonexistent"}, {"DOCKER_CONFIG": "/dev/null"}])
async def test_without_a_file_nothing_is_known(environ: dict[str, str]) -> None:
    assert await Credentials(environ).find("ghcr.io") == Login()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"auths": None},
        {"auths": []},
        {"auths": {"ghcr.io": {}}},
        {"auths": {"quay.io": {"auth": "eDp5"}}},
        {"auths": {"ghcr.io.example": {"auth": "eDp5"}}},
        {"auths": {"xghcr.io": {"auth": "eDp5"}}},
        {"credHelpers": [], "credsStore": ""},
    ],
)
async def test_a_file_may_know_nothing_of_a_registry(tmp_path: Path, config: Any) -> None:
    assert await keep(tmp_path, config).find("ghcr.io") == Login()


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * (1 << 20) + b"{}",
        {"auths": {"ghcr.io": []}},
        {"auths": {"ghcr.io": {"auth": "***"}}},
        {"auths": {"ghcr.io": {"auth": 1}}},
        {"auths": {"ghcr.io": {"auth": "bm9jb2xvbg=="}}},
        {"auths": {"ghcr.io": {"auth": "OnB3"}}},
        {"auths": {"ghcr.io": {"auth": "/v8="}}},
        {"auths": {"ghcr.io": {"username": "ann"}}},
        {"auths": {"ghcr.io": {"username": "ann", "password": ["x"]}}},
        {"auths": {"ghcr.io": {"identitytoken": {"x": 1}}}},
        {"credsStore": "../../bin/sh"},
        {"credsStore": "a b"},
        {"credsStore": ["x"]},
        {"credsStore": "--help"},
        {"credHelpers": {"ghcr.io": "x\n"}},
    ],
)
async def test_a_file_that_cannot_be_read_is_trouble_and_no_error(tmp_path: Path, config: Any) -> None:
    login = await keep(tmp_path, config).find("ghcr.io")
    assert login.header == ""
    assert login.trouble
    assert login.trouble.isprintable()


async def test_something_else_in_the_place_of_the_file_is_trouble(tmp_path: Path) -> None:
    (tmp_path / "config.json").mkdir()
    login = await Credentials({"DOCKER_CONFIG": str(tmp_path)}).find("ghcr.io")
    assert login.trouble == f"{tmp_path}/config.json cannot be read: Is a directory"


async def test_a_secret_is_not_in_what_is_printed(tmp_path: Path) -> None:
    login = await keep(tmp_path, {"auths": {"ghcr.io": {"auth": auth("ann", "hidden")}}}).find("ghcr.io")
    assert login.header not in repr(login)
    assert "hidden" not in repr(login)


# Helpers


@pytest.mark.parametrize(
    "config", [{"credsStore": "test"}, {"credHelpers": {"ghcr.io": "test"}, "credsStore": "other"}]
)
async def test_a_helper_is_asked_for_the_registry(tmp_path: Path, config: dict[str, Any]) -> None:
    credentials = keep(tmp_path, config)
    add_helper(
        tmp_path,
        "test",
        f'echo "$@" > {tmp_path}/arguments; cat > {tmp_path}/asked; echo \'{{"Username":"ann","Secret":"x"}}\'',
    )
    login = await credentials.find("ghcr.io")
    assert opened(login) == {"username": "ann", "password": "x", "serveraddress": "ghcr.io"}
    assert (tmp_path / "arguments").read_text() == "get\n"
    assert (tmp_path / "asked").read_text() == "ghcr.io"


async def test_a_helper_is_asked_for_dockers_own_registry_by_its_url(tmp_path: Path) -> None:
    credentials = keep(tmp_path, {"credsStore": "test"})
    add_helper(tmp_path, "test", f'cat > {tmp_path}/asked; echo \'{{"Username":"<token>","Secret":"x"}}\'')
    login = await credentials.find("docker.io")
    assert opened(login) == {"identitytoken": "x", "serveraddress": HUB_SERVER}
    assert (login.user, (tmp_path / "asked").read_text()) == ("", HUB_SERVER)


async def test_a_helper_that_knows_nothing_leaves_the_file(tmp_path: Path) -> None:
    credentials = keep(tmp_path, {"credsStore": "test", "auths": {"ghcr.io": {"auth": auth("ann", "x")}}})
    add_helper(tmp_path, "test", "echo credentials not found in native keychain; exit 1")
    assert (await credentials.find("ghcr.io")).user == "ann"
    assert await credentials.find("quay.io") == Login()


async def test_a_helper_that_is_missing_leaves_the_file(tmp_path: Path) -> None:
    credentials = keep(tmp_path, {"credsStore": "desktop", "auths": {"ghcr.io": {"auth": auth("ann", "x")}}})
    assert (await credentials.find("ghcr.io")).user == "ann"
    assert "docker-credential-desktop" in (await credentials.find("quay.io")).trouble


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo locked >&2; exit 1", "failed: 'locked'"),
        ("echo no JSON", "not a JSON object"),
        ("echo '[]'", "not a JSON object"),
        ('echo \'{"Username": 1, "Secret": "x"}\'', "no user and secret"),
        ("head -c 2000000 /dev/zero", "not a JSON object"),
        ("kill -9 $$", "failed"),
    ],
)
async def test_a_helper_that_fails_is_trouble(tmp_path: Path, script: str, why: str) -> None:
    credentials = keep(tmp_path, {"credsStore": "test"})
    add_helper(tmp_path, "test", script)
    login = await credentials.find("ghcr.io")
    assert login.header == ""
    assert why in login.trouble


async def test_a_helper_that_hangs_is_given_up(tmp_path: Path) -> None:
    keep(tmp_path, {"credsStore": "test"})
    add_helper(tmp_path, "test", "exec sleep 600")
    credentials = Credentials(
        {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin"}, helper_timeout=0.05
    )
    assert "does not answer within 0.05 s" in (await credentials.find("ghcr.io")).trouble


async def test_a_helper_that_cannot_be_started_is_trouble(tmp_path: Path) -> None:
    credentials = keep(tmp_path, {"credsStore": "test"})
    add_helper(tmp_path, "test", "")
    (tmp_path / "docker-credential-test").write_text("#!/nonexistent\n")
    assert "cannot be started" in (await credentials.find("ghcr.io")).trouble
