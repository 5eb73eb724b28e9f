"""What the domain objects imply."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from penstock.model import Function, FunctionSpec, Replica, ReplicaState, Resources, Secret

NOW = datetime(2030, 1, 2, tzinfo=UTC)


def test_a_key_is_name_and_namespace() -> None:
    assert FunctionSpec(name="x").key == "x.openfaas-fn"
    assert FunctionSpec(name="x", namespace="blue").key == "x.blue"


def test_only_ready_replicas_with_an_address_are_endpoints() -> None:
    replicas = (
        Replica(id="1", state="ready", address="unix:/1"),
        Replica(id="2", state="ready"),
        Replica(id="3", state="starting", address="unix:/3"),
        Replica(id="4", state="draining", address="unix:/4"),
        Replica(id="5", state="backoff", address="unix:/5"),
        Replica(id="6", state="failed", address="unix:/6"),
        Replica(id="7", state="ready", address="host:7"),
    )
    function = Function(spec=FunctionSpec(name="x"), desired=7, replicas=replicas, created_at=NOW)
    assert function.endpoints == ("unix:/1", "host:7")
    assert function.available == 3, "several may share an address"
    assert function.key == "x.openfaas-fn"


def test_nothing_is_available_without_an_address() -> None:
    replicas = (Replica(id="1", state="ready"), Replica(id="2", state="starting", address="host:2"))
    assert Function(spec=FunctionSpec(name="x"), desired=2, replicas=replicas, created_at=NOW).available == 0


@pytest.mark.parametrize(
    ("states", "failed"),
    [
        ([], False),
        (["failed"], True),
        (["failed", "failed"], True),
        (["failed", "starting"], False),
        (["backoff"], False),
    ],
)
def test_a_function_has_failed_when_all_its_replicas_have(states: list[ReplicaState], failed: bool) -> None:
    replicas = tuple(Replica(id=str(number), state=state) for number, state in enumerate(states))
    assert Function(spec=FunctionSpec(name="x"), desired=1, replicas=replicas, created_at=NOW).failed is failed


@pytest.mark.parametrize(
    ("resources", "given"), [(Resources(), False), (Resources(cpu="1"), True), (Resources(memory="1Mi"), True)]
)
def test_resources_are_true_when_any_is_given(resources: Resources, given: bool) -> None:
    assert bool(resources) is given


def test_a_secrets_value_is_not_shown() -> None:
    secret = Secret(name="token", value=b"hunter2")
    assert "hunter2" not in f"{secret} {secret!r} {[secret]}"
    assert "7 bytes" in repr(secret)


def test_a_specification_survives_being_stored() -> None:
    spec = FunctionSpec(
        name="x",
        env_process="cat -",
        env_vars={"a": "b"},
        secrets=("s",),
        labels={"l": ""},
        limits=Resources(memory="1Mi"),
        read_only_root=True,
    )
    assert msgspec.json.decode(msgspec.json.encode(spec), type=FunctionSpec) == spec


def test_domain_objects_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        FunctionSpec(name="x").name = "y"  # type: ignore[misc]
