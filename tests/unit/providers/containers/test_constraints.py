"""Whether one machine is where a function wants to run."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.providers.containers.constraints import Node, check_constraints, check_platform, node_of
from penstock.providers.containers.plan import ImageFacts

HERE = Node(
    id="abc",
    hostname="box",
    role="manager",
    os="linux",
    architecture="amd64",
    engine_labels={"disk": "ssd", "Zone": "a"},
)


def facts(architecture: str) -> ImageFacts:
    return ImageFacts(reference="example/echo", id="", os="linux", architecture=architecture)


def test_a_node_is_read_from_what_the_engine_says() -> None:
    info = {
        "Name": "box",
        "OSType": "linux",
        "Architecture": "x86_64",
        "Labels": ["disk=ssd", "bare"],
        "Swarm": {"NodeID": "abc", "LocalNodeState": "active", "ControlAvailable": True},
    }
    assert node_of(info) == Node(
        id="abc", hostname="box", os="linux", architecture="amd64", engine_labels={"disk": "ssd", "bare": ""}
    )


@pytest.mark.parametrize(
    ("swarm", "role"),
    [
        (None, "manager"),
        ({"LocalNodeState": "inactive", "ControlAvailable": False}, "manager"),
        ({"LocalNodeState": "active", "ControlAvailable": False}, "worker"),
    ],
)
def test_a_machine_without_a_swarm_manages_itself(swarm: dict[str, object] | None, role: str) -> None:
    assert node_of({"Swarm": swarm, "Labels": None}).role == role


@pytest.mark.parametrize(
    "constraint",
    [
        "node.platform.os == linux",
        "node.platform.os==Linux",
        "NODE.Platform.OS == linux",
        "node.platform.arch==amd64",
        "node.platform.arch==x86_64",
        "node.platform.arch!=arm64",
        "node.hostname==box",
        "node.hostname != other",
        "node.role == manager",
        "node.id==abc",
        "engine.labels.disk==ssd",
        "ENGINE.LABELS.disk==ssd",
        "Node.Labels.gpu!=yes",
        "engine.labels.Zone==A",
        "engine.labels.gpu!=yes",
        "node.labels.gpu != yes",
    ],
)
def test_constraints_that_hold_are_accepted(constraint: str) -> None:
    check_constraints([constraint], HERE)


@pytest.mark.parametrize(
    ("constraint", "why"),
    [
        ("node.platform.os==windows", "node.platform.os is 'linux'"),
        ("node.hostname==other", "node.hostname is 'box'"),
        ("node.hostname!=box", "node.hostname is 'box'"),
        ("node.role==worker", "node.role is 'manager'"),
        ("node.labels.gpu==yes", "node.labels.gpu is not set"),
        ("engine.labels.disk==hdd", "engine.labels.disk is 'ssd'"),
        ("engine.labels.zone==a", "engine.labels.zone is not set"),
    ],
)
def test_a_constraint_that_does_not_hold_is_refused_with_what_is(constraint: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        check_constraints(["node.platform.os==linux", constraint], HERE)


@pytest.mark.parametrize(
    "constraint",
    [
        "",
        "linux",
        "node.platform.os=linux",
        "node.platform.os==",
        "==linux",
        "node.platform.os===",
        "node.ip==10.0.0.1",
        "node.labels.==x",
        "node.label.x==x",
        "node.hostname==a\nb",
        "node.hostname==\x1b[2J",
        "node.hostname==" + "x" * 10_000,
        "$(x)==y",
    ],
)
def test_a_constraint_that_cannot_be_read_is_refused(constraint: str) -> None:
    with pytest.raises(InvalidInput, match=r"^constraints: \(") as refusal:
        check_constraints([constraint], HERE)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 600


def test_without_a_machine_only_the_form_is_judged() -> None:
    check_constraints(["node.role==worker", "node.labels.gpu==yes"])
    with pytest.raises(InvalidInput):
        check_constraints(["gpu"])


@pytest.mark.parametrize(
    ("image", "machine"),
    [
        ("amd64", "amd64"),
        ("arm64", "arm64"),
        ("386", "amd64"),
        ("arm", "arm64"),
        ("", "amd64"),
        ("amd64", ""),
        ("AMD64", "amd64"),
    ],
)
def test_an_image_that_the_machine_can_run_is_accepted(image: str, machine: str) -> None:
    check_platform(facts(image), Node(architecture=machine))


@pytest.mark.parametrize(("image", "machine"), [("arm64", "amd64"), ("amd64", "386"), ("s390x", "arm64")])
def test_an_image_for_another_machine_is_refused(image: str, machine: str) -> None:
    with pytest.raises(InvalidInput, match=f"example/echo is for linux/{image}, this machine is linux/{machine}"):
        check_platform(facts(image), Node(architecture=machine))
