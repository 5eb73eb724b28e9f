"""Health is whether what the gateway follows may be seen, asked seldom, over real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.errors import ProviderUnavailable
from penstock.providers.kubernetes import health as module
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, POD
from penstock.providers.kubernetes.health import HOLDS, Health
from penstock.testing.clock import FakeClock
from tests.unit.providers.kubernetes.client.scripted_api import ScriptedApi, opened, pieces, refused, said

FORBIDDEN = refused(403, 'pods is forbidden: User "u" cannot list resource "pods" in API group "" in the namespace "n"')
EMPTY = said({"items": []})
Server = tuple[ScriptedApi, Api]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with opened(tmp_path) as there:
        yield there


async def test_each_kind_is_asked_for_in_each_namespace_or_the_cluster(server: Server) -> None:
    script, api = server
    script.answers = [EMPTY]
    await Health(api, (DEPLOYMENT, POD), (), FakeClock()).check()
    await Health(api, (POD,), ("a", "b"), FakeClock()).check()
    assert sorted(asked[1] for asked in script.asked) == [
        "/api/v1/namespaces/a/pods",
        "/api/v1/namespaces/b/pods",
        "/api/v1/pods",
        "/apis/apps/v1/deployments",
    ]


async def test_a_missing_right_is_named(server: Server) -> None:
    script, api = server
    script.answers = [FORBIDDEN]
    with pytest.raises(
        ProviderUnavailable, match=r"refuses: .*the rule that allows it: verb list on pods in namespace n"
    ):
        await Health(api, (POD,), ("n",), FakeClock()).check()


async def test_credentials_that_are_over_are_told(server: Server) -> None:
    script, api = server
    script.answers = [refused(401, "Unauthorized")]
    with pytest.raises(
        ProviderUnavailable, match=r"does not know the gateway's credentials \(user 'me' in .*\): Unauthorized"
    ):
        await Health(api, (POD,), (), FakeClock()).check()


async def test_an_answer_holds_for_a_while_for_all_who_ask(server: Server) -> None:
    script, api = server
    clock = FakeClock()
    health = Health(api, (POD,), (), clock)
    script.answers = [FORBIDDEN]
    answers = await asyncio.gather(*(health.check() for _ in range(5)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ProviderUnavailable] * 5
    assert len(script.asked) == 1
    script.answers = [EMPTY]
    await clock.advance(HOLDS - 0.1)
    with pytest.raises(ProviderUnavailable):
        await health.check()
    await clock.advance(0.2)
    await health.check()
    assert len(script.asked) == 2


async def test_an_api_server_that_hangs_is_told_in_time(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    script, api = server
    monkeypatch.setattr(module, "PATIENCE", 0.3)
    stay = asyncio.Event()
    script.answers = [pieces(b"{", stay=stay)]
    with pytest.raises(ProviderUnavailable, match=r"does not answer within 0\.3 s"):
        await Health(api, (POD,), (), FakeClock()).check()
    stay.set()


async def test_one_that_is_not_connected_is_unavailable() -> None:
    with pytest.raises(ProviderUnavailable, match="not connected"):
        await Health(Api("", {}), (POD,), (), FakeClock()).check()
