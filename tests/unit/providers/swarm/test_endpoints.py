"""Where tasks are reached."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.providers.swarm.endpoints import Way, address_of, choose
from tests.unit.providers.swarm.samples import NODES, generation, node, task

SOCKET = "unix:///var/run/docker.sock"
ATTACHED = [
    {"Network": {"ID": "other"}, "Addresses": ["10.9.9.9/24"]},
    {"Network": {"ID": "net1"}, "Addresses": ["10.0.2.7/24"]},
]
PORTS = {
    "PortStatus": {"Ports": [{"TargetPort": 8080, "PublishedPort": 32768, "PublishMode": "host", "Protocol": "tcp"}]}
}


def address(way: Way, url: str = SOCKET, nodes: Any = NODES, **fields: Any) -> str:
    given = {"NetworksAttachments": ATTACHED, "status": PORTS, **fields}
    return address_of(task(**given), generation(), nodes, way, url)


def test_by_ip_it_is_the_tasks_own_address_on_the_shared_network() -> None:
    assert address("ip") == "10.0.2.7:8080"


def test_by_port_it_is_what_the_tasks_node_publishes() -> None:
    assert address("port") == "10.1.2.3:32768"


def test_there_is_no_address_before_the_swarm_tells_one() -> None:
    assert address("ip", NetworksAttachments=None) == ""
    assert address("port", status={}) == ""
    assert address("port", state="starting") == ""


@pytest.mark.parametrize(("url", "host"), [(SOCKET, "127.0.0.1"), ("tcp://192.0.2.4:2376", "192.0.2.4")])
def test_a_node_without_an_address_is_the_engines_machine(url: str, host: str) -> None:
    nowhere = {"node1": {**node(), "Status": {"State": "ready", "Addr": "0.0.0.0"}}}
    assert address("port", url, nowhere) == f"{host}:32768"


def test_an_address_of_version_six_has_brackets() -> None:
    six = {"node1": {**node(), "Status": {"State": "ready", "Addr": "2001:db8::1"}}}
    assert address("port", nodes=six) == "[2001:db8::1]:32768"


def test_auto_takes_addresses_where_we_are_a_container_of_the_engine() -> None:
    assert choose("auto", in_container=True) == "ip"
    assert choose("auto", in_container=False) == "port"
    assert choose("port", in_container=True) == "port"
    assert choose("ip", in_container=False) == "ip"
