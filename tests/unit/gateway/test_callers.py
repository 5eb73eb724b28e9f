"""Who may use objects of a store: the administrator and whoever has the function's token, and no page of another site."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.core.tokens import derive_key, function_token
from penstock.errors import Forbidden, SettingsError, Unauthorized
from penstock.gateway import callers as module
from penstock.gateway.callers import Callers
from penstock.settings import SECRETS_VARIABLE, Home

KEY = "x.openfaas-fn"
PASSWORD = "the password"


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A directory with the account, as platforms mount secrets."""
    (tmp_path / "basic-auth-user").write_text("admin\n")
    (tmp_path / "basic-auth-password").write_text(f"{PASSWORD}\n")
    return tmp_path


@pytest.fixture
def callers(secrets: Path) -> Callers:
    return of(secrets)


def of(secrets: Path, no_auth: bool = False) -> Callers:
    return Callers(Home(secrets / "home"), {SECRETS_VARIABLE: str(secrets)}, no_auth)


def basic(user: str = "admin", password: str = PASSWORD) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(key: str = KEY, password: str = PASSWORD) -> str:
    return "Bearer " + function_token(derive_key(password), key)


def fields(authorization: str = "", **others: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in others.items()}
    return {"host": "gateway", **({"authorization": authorization} if authorization else {}), **named}


async def test_the_administrator_may_call_everything(callers: Callers) -> None:
    for function in (KEY, "y.blue", ""):
        await callers.check(fields(basic()), function)


async def test_the_functions_token_opens_its_function(callers: Callers) -> None:
    await callers.check(fields(bearer()), KEY)


async def test_the_functions_token_opens_no_other(callers: Callers) -> None:
    for other in ("y.openfaas-fn", "x.blue", "x"):
        with pytest.raises(Forbidden, match=f"not the token of function {other}"):
            await callers.check(fields(bearer()), other)


async def test_a_pipeline_without_a_name_has_no_token(callers: Callers) -> None:
    for token in (bearer(), bearer(""), "Bearer x"):
        with pytest.raises(Forbidden, match="pipeline without a name"):
            await callers.check(fields(token), "")


async def test_a_token_of_another_password_opens_nothing(callers: Callers) -> None:
    with pytest.raises(Forbidden):
        await callers.check(fields(bearer(password="another")), KEY)


@pytest.mark.parametrize(
    "authorization",
    ("", basic(password="wrong"), basic(user="root"), "Basic", "Basic !!!", "Digest x", "nonsense", PASSWORD),
)
async def test_whoever_has_no_credential_is_asked_for_one(callers: Callers, authorization: str) -> None:
    with pytest.raises(Unauthorized, match="penstock token NAME"):
        await callers.check(fields(authorization), KEY)


@pytest.mark.parametrize("token", ("", "wrong", "\xff", "x" * 100_000, "\u2603"))
async def test_a_wrong_token_is_refused(callers: Callers, token: str) -> None:
    with pytest.raises(Forbidden):
        await callers.check(fields(f"Bearer {token}"), KEY)


@pytest.mark.parametrize(
    "page", ({"sec_fetch_site": "cross-site"}, {"sec_fetch_site": "same-site"}, {"origin": "https://evil.example"})
)
async def test_a_page_of_another_site_may_not_even_with_the_password(
    callers: Callers, secrets: Path, page: Mapping[str, str]
) -> None:
    for one in (callers, of(secrets, no_auth=True)):
        with pytest.raises(Forbidden, match="page of another site"):
            await one.check(fields(basic(), **{**page, "host": "localhost"}), KEY)


async def test_without_authentication_everybody_on_this_machine_may(secrets: Path) -> None:
    for host in ("localhost", "127.0.0.1:8080", "[::1]"):
        await of(secrets, no_auth=True).check(fields(host=host), KEY)


@pytest.mark.parametrize("host", ("evil.example", "10.0.0.1", "[::1", "127.0.0.1.evil.example"))
async def test_without_authentication_another_name_is_refused(secrets: Path, host: str) -> None:
    with pytest.raises(Forbidden):
        await of(secrets, no_auth=True).check(fields(host=host), KEY)


async def test_without_authentication_no_password_is_needed(tmp_path: Path) -> None:
    nobody = of(tmp_path, no_auth=True)
    await nobody.prepare()
    await nobody.check(fields(host="localhost"), KEY)


async def test_a_password_that_cannot_be_read_is_said_and_looked_for_again(secrets: Path) -> None:
    password = secrets / "basic-auth-password"
    kept = password.read_text()
    password.unlink()
    callers = of(secrets)
    for asked in (callers.prepare(), callers.check(fields(basic()), KEY)):
        with pytest.raises(SettingsError):
            await asked
    password.write_text(kept)
    await callers.check(fields(basic()), KEY)


async def test_the_key_of_all_tokens_is_worked_out_once(callers: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(password: str) -> bytes:
        made.append(password)
        return derive_key(password)

    monkeypatch.setattr(module, "derive_key", counted)
    await callers.prepare()
    await asyncio.gather(*(callers.check(fields(bearer()), KEY) for _ in range(8)))
    assert made == [PASSWORD]


async def test_a_caller_that_leaves_does_not_spoil_it_for_the_others(callers: Callers) -> None:
    leaving = asyncio.create_task(callers.check(fields(basic()), KEY))
    await asyncio.sleep(0)
    staying = asyncio.create_task(callers.check(fields(basic()), KEY))
    await asyncio.sleep(0)
    leaving.cancel()
    await staying
    with pytest.raises(asyncio.CancelledError):
        await leaving
