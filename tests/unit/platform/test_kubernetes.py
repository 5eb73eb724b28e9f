"""The documents that install Penstock on a cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from penstock.errors import InvalidInput
from penstock.platform.kubernetes import Platform, platform_manifests

VERSIONS = ("1.25", "1.30", "1.34")


def documents(**wanted: Any) -> dict[tuple[str, str], dict[str, Any]]:
    parts = list(yaml.safe_load_all(platform_manifests(Platform(**wanted))))
    return {(part["kind"], part["metadata"]["name"]): part for part in parts}


@pytest.mark.parametrize("version", VERSIONS)
def test_they_are_what_clusters_know(version: str) -> None:
    for document in documents(custom_resources=True).values():
        kubernetes_validate.validate(document, version, strict=True)


def test_a_cluster_without_newer_kinds_is_given_older_ones() -> None:
    assert documents(version="1.20")["PodDisruptionBudget", "gateway"]["apiVersion"] == "policy/v1beta1"
    assert documents(version="v1.31.2+k3s1")["PodDisruptionBudget", "gateway"]["apiVersion"] == "policy/v1"


def test_what_is_wanted_is_everywhere_where_it_belongs() -> None:
    found = documents(image="registry.example:5000/p:2", namespace="here", functions="there", replicas=3)
    gateway = found["Deployment", "gateway"]
    container = gateway["spec"]["template"]["spec"]["containers"][0]
    env = {item["name"]: item.get("value") for item in container["env"]}
    assert (gateway["spec"]["replicas"], container["image"]) == (3, "registry.example:5000/p:2")
    assert env["PENSTOCK_WATCHDOG_IMAGE"] == "registry.example:5000/p:2"
    assert (env["PENSTOCK_KUBERNETES_NAMESPACES"], env["PENSTOCK_PEERS"]) == ("there", "gateway-peers.here")
    assert found["Role", "penstock-functions"]["metadata"]["namespace"] == "there"
    assert found["RoleBinding", "penstock-functions"]["subjects"][0]["namespace"] == "here"
    assert found["ClusterRole", "here-namespaces"]["rules"][0]["resourceNames"] == ["there"]
    assert found["Namespace", "there"]["metadata"]["annotations"] == {"openfaas": "1"}


def test_the_gateway_may_run_where_pods_are_restricted() -> None:
    pod = documents()["Deployment", "gateway"]["spec"]["template"]["spec"]
    own = pod["containers"][0]["securityContext"]
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"] == {
        "type": "RuntimeDefault"
    }
    assert (
        own["allowPrivilegeEscalation"] is False
        and own["capabilities"] == {"drop": ["ALL"]}
        and own["readOnlyRootFilesystem"]
    )


def test_nothing_cluster_wide_but_reading_the_namespace_of_functions() -> None:
    rules = [rule for (kind, _), part in documents().items() if kind == "ClusterRole" for rule in part["rules"]]
    assert rules == [
        {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["openfaas-fn"], "verbs": ["get"]}
    ]


def test_no_rule_has_a_star() -> None:
    for (kind, _), part in documents().items():
        if kind in ("Role", "ClusterRole"):
            assert all("*" not in rule[key] for rule in part["rules"] for key in ("apiGroups", "resources", "verbs"))


def test_each_account_has_a_password_of_its_own() -> None:
    passwords = {documents()["Secret", "basic-auth"]["stringData"]["basic-auth-password"] for _ in range(3)}
    assert len(passwords) == 3 and all(len(password) == 40 for password in passwords)
    assert ("Secret", "basic-auth") not in documents(account=False)


@pytest.mark.parametrize(
    ("wanted", "words"),
    (
        ({"image": "x y"}, "image"),
        ({"image": "x\ny: z"}, "image"),
        ({"image": ""}, "image"),
        ({"namespace": "Big"}, "namespace"),
        ({"functions": "a\n---"}, "namespace"),
        ({"functions": "penstock"}, "different"),
        ({"replicas": 0}, "replicas"),
        ({"version": "1.19"}, "1.20"),
        ({"version": "2"}, "1.20"),
    ),
)
def test_what_a_cluster_would_refuse_is_refused(wanted: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        platform_manifests(Platform(**wanted))


def test_the_file_of_the_source_tree_is_the_same() -> None:
    file = Path(__file__).parents[3] / "deploy" / "kubernetes" / "penstock.yaml"
    assert list(yaml.safe_load_all(file.read_text())) == list(
        yaml.safe_load_all(platform_manifests(Platform(account=False)))
    )
