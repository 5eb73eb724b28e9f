"""Engines that cannot manage a Swarm."""

from __future__ import annotations

import pytest

from penstock.errors import ProviderUnavailable
from penstock.providers.swarm.manager import check_manager


def test_a_manager_will_do() -> None:
    check_manager({"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}}, "unix:///d")


@pytest.mark.parametrize(
    ("swarm", "advice"),
    [
        ({}, "docker swarm init"),
        ({"LocalNodeState": "inactive"}, "docker swarm init"),
        ({"LocalNodeState": "error", "Error": "certificate expired"}, "cannot join its Swarm: certificate expired"),
        ({"LocalNodeState": "locked"}, "docker swarm unlock"),
        ({"LocalNodeState": "active", "ControlAvailable": False}, "set DOCKER_HOST to a manager's"),
        ({"LocalNodeState": "active", "ControlAvailable": True, "Error": "no quorum"}, "no quorum"),
    ],
)
def test_others_are_refused_with_what_to_do(swarm: dict[str, object], advice: str) -> None:
    with pytest.raises(ProviderUnavailable, match=advice):
        check_manager({"Swarm": swarm}, "unix:///d")
