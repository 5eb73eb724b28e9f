"""The network that containers join, and how they are reached."""

from __future__ import annotations

import pytest

from penstock.errors import ProviderUnavailable
from penstock.providers.containers import labels
from penstock.providers.containers.engine import EngineRefused
from penstock.providers.containers.network import Network, is_local, publish_at, reaches
from tests.unit.providers.containers.scripted import Answer, ScriptedEngine

OURS = {"Id": "n1", "Labels": {labels.OWNER: "mine"}}
FOREIGN = {"Id": "n1", "Labels": {}}


def network(answers: dict[tuple[str, str], Answer], own: str = "") -> tuple[Network, ScriptedEngine]:
    engine = ScriptedEngine(answers)
    return Network(engine, "mine", "net", own), engine


async def test_a_network_that_is_missing_is_made_once_and_is_ours() -> None:
    one, engine = network({("POST", "/networks/create"): {"Id": "n1"}})
    await one.ensure()
    await one.ensure()
    [made] = engine.asked("POST")
    assert made.body["Labels"][labels.OWNER] == "mine"
    assert (made.body["Name"], made.body["Driver"]) == ("net", "bridge")


async def test_it_is_looked_for_again_once_it_may_be_missing() -> None:
    one, engine = network({("GET", "/networks/net"): OURS})
    await one.ensure()
    one.missing()
    await one.ensure()
    assert len(engine.asked("GET")) == 2
    assert not engine.asked("POST")


async def test_another_installation_may_be_faster() -> None:
    one, _ = network({("POST", "/networks/create"): EngineRefused(409, "exists")})
    await one.ensure()


async def test_what_the_engine_refuses_is_said() -> None:
    one, _ = network({("POST", "/networks/create"): EngineRefused(500, "could not find an available address pool")})
    with pytest.raises(ProviderUnavailable, match="network net cannot be used: could not find"):
        await one.ensure()


async def test_a_container_that_we_are_in_joins() -> None:
    answers = {("GET", "/networks/net"): OURS, ("POST", "/networks/net/connect"): ""}
    one, engine = network(answers, own="self")
    await one.ensure()
    assert engine.asked("POST")[0].body == {"Container": "self"}


async def test_joining_twice_is_no_trouble() -> None:
    taken = EngineRefused(403, "endpoint with name self already exists in network net")
    one, _ = network({("GET", "/networks/net"): OURS, ("POST", "/networks/net/connect"): taken}, own="self")
    await one.ensure()


async def test_ours_is_removed_and_we_leave_it_before() -> None:
    document = {**OURS, "Containers": {"self": {}}}
    one, engine = network(
        {("GET", "/networks/net"): document, ("POST", "/networks/n1/disconnect"): "", ("DELETE", "/networks/n1"): ""},
        own="self",
    )
    await one.remove()
    assert [call.path for call in engine.calls] == ["/networks/net", "/networks/n1/disconnect", "/networks/n1"]


@pytest.mark.parametrize("document", [FOREIGN, {"Id": "n1"}, {"Id": "n1", "Labels": {labels.OWNER: "another"}}])
async def test_a_network_of_others_is_never_removed(document: dict[str, object]) -> None:
    one, engine = network({("GET", "/networks/net"): document})
    await one.remove()
    assert not engine.asked("DELETE")


async def test_one_that_is_in_use_stays() -> None:
    one, _ = network({("GET", "/networks/net"): OURS, ("DELETE", "/networks/n1"): EngineRefused(403, "has endpoints")})
    await one.remove()


def test_containers_are_reached_from_within_and_on_the_bridges_machine() -> None:
    assert reaches({"Containers": {"self": {}}}, "self")
    assert reaches({"IPAM": {"Config": [{"Gateway": "127.0.0.1"}]}}, "")
    assert not reaches({"Containers": {"another": {}}, "IPAM": {"Config": [{"Gateway": "192.0.2.1"}]}}, "self")
    assert not reaches({"Containers": {}, "IPAM": None}, "")


@pytest.mark.parametrize("address", ["", "nonsense", "192.0.2.1", "0.0.0.0", "192.0.2.1/24"])
def test_other_addresses_are_not_this_machines(address: str) -> None:
    assert not is_local(address)


def test_ports_are_published_where_the_engine_is() -> None:
    assert publish_at("unix:///var/run/docker.sock") == ("127.0.0.1", "127.0.0.1")
    assert publish_at("tcp://localhost:2375") == ("127.0.0.1", "127.0.0.1")
    assert publish_at("tcp://192.0.2.7:2376") == ("", "192.0.2.7")
    assert publish_at("https://[2001:db8::7]:2376") == ("", "[2001:db8::7]")
