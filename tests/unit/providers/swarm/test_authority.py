"""Writes to the Swarm."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput, ProviderUnavailable
from penstock.providers.containers.engine import EngineRefused
from penstock.providers.swarm.authority import Authority, refusal
from penstock.providers.swarm.cluster import Cluster
from penstock.providers.swarm.services import draft, scaled
from penstock.testing.clock import FakeClock
from tests.unit.providers.swarm.fake_swarm import FakeSwarm
from tests.unit.providers.swarm.samples import generation


class Impatient(FakeClock):
    """Waits for nothing."""

    async def sleep(self, seconds: float) -> None:
        return


def made() -> tuple[FakeSwarm, Cluster, Authority]:
    swarm, clock = FakeSwarm(), Impatient()
    cluster = Cluster(swarm.engine, "lab", clock)
    return swarm, cluster, Authority(swarm.engine, cluster, "lab", clock)


def body(installation: str = "lab") -> dict[str, Any]:
    return draft(generation(1, planned=False), installation)


async def test_a_new_service_is_seen_at_once() -> None:
    _, cluster, authority = made()
    service = await authority.create(body())
    assert cluster.services == {service["ID"]: service}


async def test_a_service_of_ours_that_has_the_name_means_that_the_function_exists() -> None:
    _, _, authority = made()
    await authority.create(body())
    with pytest.raises(FunctionExists):
        await authority.create(body())


async def test_a_service_of_others_that_has_the_name_is_named() -> None:
    swarm, _, authority = made()
    await swarm.post("/services/create", {**body("theirs"), "Name": "echo___lab"})
    with pytest.raises(InvalidInput, match="echo___lab that is not ours"):
        await authority.create(body())


async def test_an_edit_is_made_again_where_somebody_else_was_faster() -> None:
    swarm, cluster, authority = made()
    service = await authority.create(body())
    swarm.conflicts = 3
    await authority.edit(service["ID"], lambda spec: scaled(spec, 4))
    assert cluster.services[service["ID"]]["Spec"]["Labels"]["com.penstock.desired"] == "4"


async def test_an_edit_is_given_up_when_others_are_always_faster() -> None:
    swarm, _, authority = made()
    service = await authority.create(body())
    swarm.conflicts = 10_000
    with pytest.raises(ProviderUnavailable, match="changed by others"):
        await authority.edit(service["ID"], lambda spec: scaled(spec, 4))


async def test_an_edit_that_changes_nothing_is_not_made() -> None:
    swarm, _, authority = made()
    service = await authority.create(body())
    before = len(swarm.bodies)
    await authority.edit(service["ID"], lambda spec: None)
    assert len(swarm.bodies) == before


async def test_editing_what_is_gone_says_so() -> None:
    swarm, cluster, authority = made()
    service = await authority.create(body())
    await swarm.delete(f"/services/{service['ID']}")
    with pytest.raises(FunctionNotFound):
        await authority.edit(service["ID"], lambda spec: scaled(spec, 4))
    assert not cluster.services


async def test_removing_twice_is_no_error() -> None:
    _, cluster, authority = made()
    service = await authority.create(body())
    await authority.remove(service["ID"])
    await authority.remove(service["ID"])
    assert not cluster.services


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        (400, "rpc error: code = InvalidArgument desc = bad name", InvalidInput),
        (500, "rpc error: code = ResourceExhausted desc = grpc: received message larger than max", InvalidInput),
        (503, "This node is not a swarm manager.", ProviderUnavailable),
        (500, "rpc error: code = Unknown desc = The swarm does not have a leader.", ProviderUnavailable),
        (500, "disk full", ProviderUnavailable),
    ],
)
def test_a_no_is_told_as_ours_or_the_swarms(code: int, words: str, kind: type[Exception]) -> None:
    error = refusal(EngineRefused(code, words))
    assert type(error) is kind
    assert "rpc error" not in str(error)
