"""Whom a function runs as and what it may do."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.kubernetes.manifests import Shape
from penstock.providers.kubernetes.security import Identity, identity_of
from tests.unit.providers.kubernetes.objects import container, pod, spec

USER, CAPABILITIES = "com.penstock.kubernetes.user", "com.penstock.capabilities"
CHART = Shape(installation="lab", watchdog_image="penstock:1", user=0)
BASELINE = {
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID",
    "SETPCAP", "SETUID", "SYS_CHROOT",
}  # fmt: skip
"""Capabilities that the level `baseline` of the Pod Security Standards allows to be added."""


def violations(document: dict[str, Any]) -> set[str]:
    """Of the level `restricted` of the Pod Security Standards, by the names of its controls."""
    found = {field for field in ("hostNetwork", "hostPID", "hostIPC") if document.get(field)}
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    found |= {f"volume {volume}" for volume in document.get("volumes", []) if not volume.keys() - {"name"} <= allowed}
    common = document.get("securityContext", {})
    for each in [*document["containers"], *document.get("initContainers", [])]:
        own = {**common, **each.get("securityContext", {})}
        if own.get("privileged") or own.get("allowPrivilegeEscalation") is not False:
            found.add("allowPrivilegeEscalation")
        if own.get("runAsNonRoot") is not True:
            found.add("runAsNonRoot")
        if own.get("runAsUser") == 0:
            found.add("runAsUser")
        if own.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            found.add("seccompProfile")
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
            found.add("capabilities")
        if any("hostPort" in port for port in each.get("ports", [])):
            found.add("hostPort")
    return found


@pytest.mark.parametrize("shape", [Shape(installation="lab", watchdog_image="penstock:1"), CHART])
@pytest.mark.parametrize(
    "wanted",
    [
        spec(),
        spec(env_process=""),
        spec(env_process="", labels={"com.penstock.http-port": "80"}),
        spec(read_only_root=True, secrets=("token",), constraints=("disk=ssd",)),
        spec(labels={USER: "1000"}),
        spec(annotations={"com.openfaas.serviceaccount": "reader"}),
    ],
)
def test_pods_keep_to_the_restricted_standard(wanted: FunctionSpec, shape: Shape) -> None:
    assert violations(pod(wanted, shape=shape)) == set()


@pytest.mark.parametrize(
    ("labels", "broken"),
    [
        ({USER: "image"}, {"runAsNonRoot"}),
        ({USER: "0"}, {"runAsNonRoot", "runAsUser"}),
        ({CAPABILITIES: "CHOWN"}, {"runAsNonRoot", "capabilities"}),
        ({CAPABILITIES: "NET_BIND_SERVICE", USER: "1000"}, set()),
        ({"com.penstock.allow-new-privileges": "true"}, {"allowPrivilegeEscalation"}),
    ],
)
def test_labels_ask_for_more_one_by_one(labels: dict[str, str], broken: set[str]) -> None:
    document = pod(spec(labels=labels))
    assert violations(document) == broken
    assert violations({**document, "containers": []}) == set()


def test_capabilities_are_within_the_baseline() -> None:
    asked = container(spec(labels={CAPABILITIES: ",".join(sorted(BASELINE))}))["securityContext"]["capabilities"]
    assert asked == {"drop": ["ALL"], "add": sorted(BASELINE)}


@pytest.mark.parametrize(
    ("labels", "identity"),
    [
        ({}, Identity(12000, 12000)),
        ({USER: "1000"}, Identity(1000, 1000)),
        ({USER: "1000:50"}, Identity(1000, 50)),
        ({USER: "0"}, Identity(0, 0, may_be_root=True)),
        ({USER: "0:0"}, Identity(0, 0, may_be_root=True)),
        ({USER: "image"}, Identity(may_be_root=True)),
        ({CAPABILITIES: "CHOWN"}, Identity(may_be_root=True)),
        ({CAPABILITIES: "CHOWN", USER: "1000"}, Identity(1000, 1000)),
    ],
)
def test_whom_the_function_runs_as(labels: dict[str, str], identity: Identity) -> None:
    assert identity_of(spec(labels=labels), 12000) == identity


def test_where_the_cluster_chooses_users_none_is_named_but_root_is_refused() -> None:
    document = pod(spec(), shape=CHART)
    assert document["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}, "runAsNonRoot": True}
    assert "runAsUser" not in document["initContainers"][0]["securityContext"]


def test_the_copying_container_is_never_root() -> None:
    [helper] = pod(spec(labels={USER: "image"}))["initContainers"]
    assert helper["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 12000,
        "runAsGroup": 12000,
    }


@pytest.mark.parametrize(
    "text", ["root", "-1", "1000:", ":1000", "1:2:3", "2147483648", "9" * 11, "1.5", "²", "1\n", " 1"]
)
def test_what_is_no_user_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="must be the number of a user"):
        identity_of(spec(labels={USER: text}), 12000)
