"""Named pipelines as configs of a Swarm, which several gateways write."""

from __future__ import annotations

import pytest

from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput, ProviderUnavailable
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec
from penstock.providers.swarm.cluster import Cluster
from penstock.providers.swarm.names import MOST_OTHER, pipeline_name
from penstock.providers.swarm.pipelines import Pipelines, pipeline_of
from penstock.testing.clock import FakeClock
from tests.unit.providers.swarm.fake_swarm import FakeSwarm

FLOW = FunctionSpec(name="flow", stages=("sort", "uniq?c=1"), labels={"a": "b"})
KEY = FLOW.key


def pipelines(swarm: FakeSwarm, installation: str = "lab") -> Pipelines:
    clock = FakeClock()
    return Pipelines(swarm.engine, Cluster(swarm.engine, installation, clock), installation, clock)


async def test_a_pipeline_is_found_again_by_another_gateway_and_by_no_other_installation() -> None:
    swarm = FakeSwarm()
    await pipelines(swarm).create(FLOW)
    other, foreign = pipelines(swarm), pipelines(swarm, "elsewhere")
    await other.look()
    await foreign.look()
    assert other.specs() == [FLOW]
    assert foreign.specs() == []


async def test_each_change_is_published_once() -> None:
    swarm = FakeSwarm()
    ours, told = pipelines(swarm), list[str]()
    ours.published = told.append
    await ours.create(FLOW)
    await ours.look()
    assert told == [KEY]
    await ours.update(FunctionSpec(name="flow", stages=("rev",)))
    assert told == [KEY] * 2
    await ours.delete(KEY)
    await ours.look()
    assert told == [KEY] * 3


async def test_what_another_gateway_did_is_seen_at_the_next_look() -> None:
    swarm = FakeSwarm()
    ours, other = pipelines(swarm), pipelines(swarm)
    await ours.create(FLOW)
    await other.look()
    await other.update(FunctionSpec(name="flow", stages=("rev",)))
    await ours.look()
    assert [spec.stages for spec in ours.specs()] == [("rev",)]
    await other.delete(KEY)
    await ours.look()
    assert not ours.keys


async def test_a_pipeline_that_another_gateway_has_made_meanwhile_exists() -> None:
    swarm = FakeSwarm()
    await pipelines(swarm).create(FLOW)
    with pytest.raises(FunctionExists, match=r"pipeline flow\.openfaas-fn already exists"):
        await pipelines(swarm).create(FLOW)


async def test_an_update_that_others_are_faster_with_is_made_again() -> None:
    swarm = FakeSwarm()
    ours, other = pipelines(swarm), pipelines(swarm)
    await ours.create(FLOW)
    await other.look()
    await other.update(FunctionSpec(name="flow", stages=("other",)))
    await ours.update(FunctionSpec(name="flow", stages=("ours",)))
    assert [spec.stages for spec in ours.specs()] == [("ours",)]


async def test_an_update_of_what_another_gateway_has_deleted_is_not_found() -> None:
    swarm = FakeSwarm()
    ours, other = pipelines(swarm), pipelines(swarm)
    await ours.create(FLOW)
    await other.look()
    await other.delete(KEY)
    with pytest.raises(FunctionNotFound):
        await ours.update(FLOW)
    with pytest.raises(FunctionNotFound):
        await ours.delete(KEY)


async def test_a_deletion_that_another_gateway_was_faster_with_is_done() -> None:
    swarm = FakeSwarm()
    ours, other = pipelines(swarm), pipelines(swarm)
    await ours.create(FLOW)
    await other.look()
    await other.delete(KEY)
    await ours.delete(KEY)
    assert not ours.keys


async def test_a_pipeline_too_large_for_a_label_is_refused() -> None:
    swarm = FakeSwarm()
    with pytest.raises(InvalidInput, match="a Swarm keeps at most 400000"):
        await pipelines(swarm).create(FunctionSpec(name="flow", stages=("a",), annotations={"x": "y" * 400_000}))
    assert not swarm.kept["configs"]


async def test_a_swarm_that_does_not_answer_is_told_of() -> None:
    swarm = FakeSwarm()
    ours = pipelines(swarm)
    await ours.create(FLOW)
    swarm.away = True
    with pytest.raises(ProviderUnavailable):
        await ours.update(FLOW)


@pytest.mark.parametrize(
    "labels",
    [
        None,
        {},
        {"com.penstock.spec": "{", "com.penstock.created_at": "2026-01-01T00:00:00+00:00"},
        {"com.penstock.spec": '{"name":"a","stages":["b"]}', "com.penstock.created_at": "yesterday"},
        {"com.penstock.spec": '{"name":"a","stages":[1]}', "com.penstock.created_at": "2026-01-01T00:00:00+00:00"},
    ],
)
def test_a_config_that_cannot_be_read_is_not_ours(labels: dict[str, str] | None) -> None:
    assert pipeline_of({"ID": "1", "Spec": {"Labels": labels}}) is None


def test_names_are_readable_and_never_too_long() -> None:
    assert pipeline_name("lab", "flow", DEFAULT_NAMESPACE) == "lab.pipeline.openfaas-fn.flow"
    long = [pipeline_name("lab", "a" * 63, space * 63) for space in "bc"]
    assert len(set(long)) == 2
    assert all(len(name) <= MOST_OTHER for name in long)
