"""Names in a Swarm: one for each thing, within its limits."""

from __future__ import annotations

import itertools
import re

import pytest

from penstock.model import DEFAULT_NAMESPACE
from penstock.providers.swarm.names import config_name, network_name, secret_name, service_name, watchdog_name

LONG = "x" * 63
SERVICE = re.compile(r"[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*")
OTHER = re.compile(r"[a-zA-Z0-9]+(?:[a-zA-Z0-9-_.]*[a-zA-Z0-9])?")
"""What swarmkit requires of names."""


@pytest.mark.parametrize(
    ("namespace", "generation", "installation", "expected"),
    [
        (DEFAULT_NAMESPACE, 1, "penstock", "echo"),
        (DEFAULT_NAMESPACE, 2, "penstock", "echo__2"),
        ("team", 1, "penstock", "echo_team"),
        ("team", 12, "lab", "echo_team__12___lab"),
    ],
)
def test_a_service_is_called_after_its_function(
    namespace: str, generation: int, installation: str, expected: str
) -> None:
    assert service_name(installation, "echo", namespace, generation) == expected


def test_no_two_services_share_a_name() -> None:
    words = ("a", "b", "2", "a-2", LONG)
    given = list(itertools.product(("penstock", "a", "2"), words, (*words, DEFAULT_NAMESPACE), (1, 2, 3)))
    names = {service_name(*one) for one in given}
    assert len(names) == len(given)
    assert all(len(name) <= 63 and SERVICE.fullmatch(name) for name in names)


def test_secrets_of_the_longest_names_differ_by_version_and_namespace() -> None:
    name = "k" * 253
    names = {secret_name("penstock", name, space, version) for space in (LONG, "a") for version in (1, 2)}
    assert len(names) == 4
    assert all(len(name) <= 64 and OTHER.fullmatch(name) for name in names)


def test_a_short_secret_can_be_read() -> None:
    assert secret_name("penstock", "api-key", "team", 3) == "penstock.team.api-key.3"


def test_a_config_of_the_longest_namespace_fits() -> None:
    assert config_name("penstock", "team") == "penstock.namespace.team"
    assert len(config_name("penstock", LONG)) == 64


def test_the_default_namespace_has_the_network_of_the_settings() -> None:
    assert network_name("penstock", DEFAULT_NAMESPACE) == "penstock"
    assert network_name("penstock", "team") == "penstock-team"


def test_each_watchdog_and_installation_has_a_volume_of_its_own() -> None:
    names = {watchdog_name(installation, image) for installation in ("a", "b") for image in ("sha256:1", "sha256:2")}
    assert len(names) == 4
