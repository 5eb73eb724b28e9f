"""The guard of the admin branch."""

from __future__ import annotations

import pytest
from starlette.responses import Response

from penstock.control.auth import Guard
from penstock.credentials import Credentials
from tests.unit.control.support import BASIC, PASSWORD, USER, Client

ADMIN = Credentials(USER, PASSWORD)


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
