"""The Helm chart renders to what `penstock generate platform` writes, and its values do what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from penstock import __version__
from penstock.platform.kubernetes import Platform, platform_manifests
from penstock.providers.kubernetes.permissions import CLUSTER_RULES
from tests.conftest import in_ci
from tests.helm.chart import CHART, ChartRefused, Document, Renderer

pytestmark = pytest.mark.service("go")
SPRIG = Path("/usr/share/gocode/src/github.com/Masterminds/sprig")
EVERYTHING = {
    "replicas": 3,
    "functionNamespaces": ["one", "two"],
    "imagePullSecrets": ["registry"],
    "service": {"type": "NodePort", "nodePort": 31112, "annotations": {"a": "b"}},
    "ingress": {
        "enabled": True,
        "host": "f.example",
        "className": "nginx",
        "tlsSecret": "cert",
        "annotations": {"c": "d"},
    },
    "customResources": {"enabled": True},
    "env": {"PENSTOCK_S3_BUCKETS": "in,out"},
    "envFromSecrets": ["s3"],
    "prometheus": {"url": "http://prometheus:9090"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "x", "operator": "Exists"}],
    "priorityClassName": "high",
    "nats": {"enabled": True},
}
VALUES: dict[str, dict[str, Any]] = {
    "its own": {},
    "everything": EVERYTHING,
    "the whole cluster": {"clusterWide": True},
}


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    if not SPRIG.is_dir() and not in_ci():
        pytest.skip(
            "needs Go's sprig: apt-get install golang-github-masterminds-sprig-dev golang-github-ghodss-yaml-dev"
        )
    return Renderer(tmp_path_factory.mktemp("helm"))


def by_name(documents: list[Document]) -> dict[tuple[str, str, str], Document]:
    return {(part["kind"], part["metadata"].get("namespace", ""), part["metadata"]["name"]): part for part in documents}


def plain(document: Document) -> Document:
    """A document without what only a chart has."""
    labels = document["metadata"].get("labels", {})
    for name in ("app.kubernetes.io/instance", "helm.sh/chart"):
        labels.pop(name, None)
    annotations = document["metadata"].get("annotations", {})
    annotations.pop("helm.sh/resource-policy", None)
    return document


def container(documents: list[Document]) -> Document:
    spec = next(part for part in documents if part["kind"] == "Deployment")["spec"]["template"]["spec"]
    found: Document = spec["containers"][0]
    return found


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("version", ("1.25", "1.34"))
def test_it_renders_to_what_clusters_know(render: Renderer, values: str, version: str) -> None:
    documents = render(VALUES[values])
    assert len(documents) == len(by_name(documents)) > 12
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize(("apis", "version"), ((("v1", "policy/v1beta1"), "1.20"), (("v1", "policy/v1"), "1.30")))
@pytest.mark.parametrize("custom", (False, True))
def test_by_default_it_is_what_the_command_writes(
    render: Renderer, apis: tuple[str, ...], version: str, custom: bool
) -> None:
    platform = Platform(version=version, account=False, custom_resources=custom)
    written = by_name(list(yaml.safe_load_all(platform_manifests(platform))))
    own = written.pop(("Namespace", "", "penstock"))  # Helm makes it by --create-namespace
    rendered = by_name(
        [
            plain(part)
            for part in render({"customResources": {"enabled": custom}}, apis=apis)
            if part["kind"] != "Secret"
        ]
    )
    assert own["metadata"]["name"] == "penstock"
    assert rendered.keys() == written.keys()
    for key, document in rendered.items():
        assert document == written[key], key


def test_its_versions_are_ours() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert (chart["version"], chart["appVersion"], values["image"]) == (
        __version__,
        __version__,
        f"penstock:{__version__}",
    )


def test_values_reach_the_gateway(render: Renderer) -> None:
    documents = render(EVERYTHING)
    env = {item["name"]: item.get("value") for item in container(documents)["env"]}
    assert env["PENSTOCK_KUBERNETES_NAMESPACES"] == "one,two"
    assert env["PENSTOCK_S3_BUCKETS"] == "in,out"
    assert env["PENSTOCK_PROMETHEUS_URL"] == "http://prometheus:9090"
    assert container(documents)["envFrom"] == [{"secretRef": {"name": "s3"}}]
    service = by_name(documents)["Service", "penstock", "gateway"]["spec"]
    assert (service["type"], service["ports"]) == (
        "NodePort",
        [{"name": "http", "port": 8080, "protocol": "TCP", "targetPort": "http", "nodePort": 31112}],
    )


def test_each_namespace_of_functions_has_a_role(render: Renderer) -> None:
    found = by_name(render({"functionNamespaces": ["one", "two"]}))
    for name in ("one", "two"):
        assert ("Role", name, "penstock-functions") in found and ("NetworkPolicy", name, "penstock-functions") in found
    assert found["ClusterRole", "", "penstock-namespaces"]["rules"][0]["resourceNames"] == ["one", "two"]


def test_the_whole_cluster_has_the_same_rules_in_a_role_of_the_cluster(render: Renderer) -> None:
    narrow, wide = by_name(render()), by_name(render({"clusterWide": True}))
    assert (
        wide["ClusterRole", "", "penstock-functions"]["rules"]
        == narrow["Role", "openfaas-fn", "penstock-functions"]["rules"]
    )
    assert "create" in wide["ClusterRole", "", "penstock-namespaces"]["rules"][0]["verbs"]
    assert "PENSTOCK_KUBERNETES_NAMESPACES" not in {item["name"] for item in container(list(wide.values()))["env"]}


def test_a_password_is_kept_over_an_upgrade(render: Renderer) -> None:
    kept = {"data": {"basic-auth-user": "YQ==", "basic-auth-password": "Yg=="}}
    found = by_name(render(objects={"v1/Secret/penstock/basic-auth": kept}))
    assert found["Secret", "penstock", "basic-auth"]["data"] == kept["data"]
    first, second = (by_name(render())["Secret", "penstock", "basic-auth"]["data"] for _ in range(2))
    assert first["basic-auth-password"] != second["basic-auth-password"]


def test_an_account_of_ones_own(render: Renderer) -> None:
    documents = render({"auth": {"existingSecret": "mine"}})
    assert not [part for part in documents if part["kind"] == "Secret"]
    spec = by_name(documents)["Deployment", "penstock", "gateway"]["spec"]["template"]["spec"]
    assert {"name": "basic-auth", "secret": {"secretName": "mine"}} in spec["volumes"]
    assert "secret mine" in render.texts({"auth": {"existingSecret": "mine"}})["NOTES.txt"]


def test_parts_can_be_left_out(render: Renderer) -> None:
    off = {"enabled": False}
    kinds = {
        part["kind"] for part in render({"networkPolicy": off, "podDisruptionBudget": off, "createNamespaces": False})
    }
    assert not kinds & {"NetworkPolicy", "PodDisruptionBudget", "Namespace"}


def test_what_cannot_work_is_refused(render: Renderer) -> None:
    with pytest.raises(ChartRefused, match="must be in different ones"):
        render({"functionNamespaces": ["penstock"]})
    with pytest.raises(ChartRefused, match=r"ingress\.host"):
        render({"ingress": {"enabled": True}})


@pytest.mark.parametrize("hostile", ('a"b', "a: b", "x\n- y: z", "{{ .Values }}", "*a", "yes"))
def test_values_stay_values(render: Renderer, hostile: str) -> None:
    env = {item["name"]: item.get("value") for item in container(render({"env": {"A": hostile}}))["env"]}
    assert env["A"] == hostile


def test_the_whole_cluster_is_what_the_provider_says_it_needs(render: Renderer) -> None:
    [rule] = by_name(render({"clusterWide": True}))["ClusterRole", "", "penstock-namespaces"]["rules"]
    [needed] = CLUSTER_RULES
    assert (rule["resources"], rule["verbs"]) == ([needed.resource], list(needed.verbs))
