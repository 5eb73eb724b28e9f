"""Manifests: what each system is told, and what it cannot be told."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec, Resources
from penstock.stack.generate import KINDS, KNATIVE, OPENFAAS, manifests

SPEC = FunctionSpec(
    name="api",
    namespace="shop",
    image="acme/api:1",
    env_process="python index.py",
    env_vars={"A": "1e3", "B": "$(HOME) $$ {{x}}"},
    secrets=("token",),
    labels={"com.openfaas.scale.min": "2", "note": "two words"},
    annotations={"topic": "a b"},
    constraints=("zone = a", "disk != slow"),
    limits=Resources(memory="128m", cpu="0.5"),
    requests=Resources(memory="64Mi", cpu="100m"),
    read_only_root=True,
)
SMALL = FunctionSpec(name="a", namespace="shop", image="a:1")


def documents(kind: str, *specs: FunctionSpec) -> list[Any]:
    return list(map(yaml.safe_load, re.split(r"^---\n", manifests(specs or (SPEC,), kind), flags=re.MULTILINE)[1:]))


def stack(*specs: FunctionSpec) -> Any:
    return yaml.safe_load(manifests(specs or (SPEC,), "swarm"))


def changed(**fields: Any) -> FunctionSpec:
    import msgspec

    return msgspec.structs.replace(SPEC, **fields)


def test_custom_resources_of_openfaas() -> None:
    small, api = documents(OPENFAAS, SPEC, SMALL)
    assert small == {
        "apiVersion": "openfaas.com/v1",
        "kind": "Function",
        "metadata": {"name": "a", "namespace": "shop"},
        "spec": {"name": "a", "image": "a:1"},
    }
    assert api["spec"] == {
        "name": "api",
        "image": "acme/api:1",
        "handler": "python index.py",
        "environment": SPEC.env_vars,
        "labels": SPEC.labels,
        "annotations": SPEC.annotations,
        "limits": {"memory": "128m", "cpu": "0.5"},
        "requests": {"memory": "64Mi", "cpu": "100m"},
        "constraints": ["zone = a", "disk != slow"],
        "secrets": ["token"],
        "readOnlyRootFilesystem": True,
    }


def test_services_of_knative() -> None:
    [service] = documents(KNATIVE)
    pod = service["spec"]["template"]["spec"]
    assert (service["apiVersion"], service["kind"]) == (KNATIVE, "Service")
    assert {"name": "fprocess", "value": "python index.py"} in pod["containers"][0]["env"]
    assert pod["containers"][0]["volumeMounts"] == [
        {"name": "token", "mountPath": "/var/openfaas/secrets/token", "readOnly": True}
    ]
    assert pod["volumes"] == [{"name": "token", "secret": {"secretName": "token"}}]


def test_a_deployment_and_a_service_of_kubernetes() -> None:
    deployment, service = documents("kubernetes")
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    pod = deployment["spec"]["template"]
    assert deployment["spec"]["replicas"] == 2
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == {"faas_function": "api"}
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"] == {"topic": "a b", "note": "two words"}, "a label's value has no spaces"
    [container] = pod["spec"]["containers"]
    assert container["resources"] == {
        "limits": {"memory": "134217728", "cpu": "500m"},
        "requests": {"memory": "64Mi", "cpu": "100m"},
    }
    assert {"name": "B", "value": "$$(HOME) $$$$ {{x}}"} in container["env"], "nothing is expanded"
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/var/openfaas/secrets", "/tmp"}
    assert pod["spec"]["nodeSelector"] == {"zone": "a"}
    terms = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms["nodeSelectorTerms"][0]["matchExpressions"] == [
        {"key": "disk", "operator": "NotIn", "values": ["slow"]}
    ]


def test_an_image_with_a_server_of_its_own_is_asked_at_its_port() -> None:
    deployment, _ = documents("kubernetes", changed(labels={"com.penstock.http-port": "80"}))
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    assert container["ports"][0]["containerPort"] == 80 and "tcpSocket" in container["readinessProbe"]


def test_swarms_names_of_nodes_become_those_of_kubernetes() -> None:
    spec = changed(constraints=("node.hostname == one", "node.platform.arch == x86_64", "node.labels.disk == ssd"))
    deployment, _ = documents("kubernetes", spec)
    assert deployment["spec"]["template"]["spec"]["nodeSelector"] == {
        "kubernetes.io/hostname": "one",
        "kubernetes.io/arch": "amd64",
        "disk": "ssd",
    }


def test_a_stack_for_swarm() -> None:
    document = stack(SPEC, SMALL)
    assert list(document["services"]) == ["a", "api"]
    service = document["services"]["api"]
    assert document["version"] == "3.8" and document["secrets"] == {"token": {"external": True}}
    assert service["environment"] == {"A": "1e3", "B": '$$(HOME) $$$$ {{"{{"}}x}}', "fprocess": "python index.py"}
    assert service["secrets"] == [{"source": "token", "target": "/var/openfaas/secrets/token", "mode": 0o444}]
    assert service["deploy"]["replicas"] == 2
    assert service["deploy"]["placement"]["constraints"] == ["node.labels.zone == a", "node.labels.disk != slow"]
    assert service["deploy"]["resources"] == {
        "limits": {"cpus": "0.500", "memory": "134217728b"},
        "reservations": {"cpus": "0.100", "memory": "67108864b"},
    }
    assert service["read_only"] and service["volumes"] == [{"type": "tmpfs", "target": "/tmp"}]


@pytest.mark.parametrize("kind", KINDS)
def test_a_function_without_an_image_is_refused(kind: str) -> None:
    with pytest.raises(InvalidInput, match="'api' has no image"):
        manifests([changed(image="")], kind)


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        ("kubernetes", {"labels": {"com.penstock.watchdog": "inject"}}, "puts no watchdog into images"),
        ("swarm", {"labels": {"com.penstock.watchdog": "inject"}}, "puts no watchdog into images"),
        ("kubernetes", {"labels": {"a b": "x"}}, "takes no label or annotation 'a b'"),
        ("kubernetes", {"constraints": ("engine.labels.disk == ssd",)}, "nodes of a cluster have no engine.labels"),
        ("kubernetes", {"constraints": ("node.role == chief",)}, "manager or worker"),
        ("kubernetes", {"constraints": ("zone",)}, "must be KEY=VALUE"),
        ("swarm", {"constraints": ("zone",)}, "must be KEY==VALUE"),
        ("kubernetes", {"limits": Resources(memory="much")}, "not an amount of memory"),
        ("swarm", {"limits": Resources(cpu="much")}, "not an amount of processors"),
    ],
)
def test_what_cannot_be_said_is_refused(kind: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        manifests([changed(**fields)], kind)


def test_two_namespaces_are_too_many_for_one_stack() -> None:
    with pytest.raises(InvalidInput, match="two namespaces"):
        stack(SPEC, changed(namespace="other"))
    with pytest.raises(InvalidInput, match="nothing that can be generated"):
        manifests([SPEC], "helm")
