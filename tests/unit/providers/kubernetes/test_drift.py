"""What counts as a change of an object in the cluster."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from penstock.model import Resources
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.drift import same
from penstock.providers.kubernetes.manifests import Document, deployment, service, service_account
from penstock.providers.kubernetes.profiles import Profile
from tests.unit.providers.kubernetes.objects import SHAPE, spec

FULL = spec(
    env_vars={"A": "1", "EMPTY": ""},
    secrets=("token",),
    limits=Resources(memory="1024Mi", cpu="0.5"),
    read_only_root=True,
    constraints=("disk=ssd", "zone!=a"),
)


def wanted(**options: Any) -> Document:
    return deployment(
        options.pop("function", FULL), options.pop("desired", 2), options.pop("floor", 0), SHAPE, **options
    )


def served(document: Document) -> Document:
    """As an API server gives it back: with defaults, without what is empty, and with quantities in its own spelling."""
    live = copy.deepcopy(document)
    live["metadata"] |= {
        "uid": "u",
        "resourceVersion": "7",
        "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "1"
    live["status"] = {"replicas": 2}
    pod = live["spec"]["template"]["spec"]
    live["spec"]["progressDeadlineSeconds"] = 600
    pod |= {"dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "serviceAccount": pod["serviceAccountName"]}
    [function] = pod["containers"]
    function |= {"terminationMessagePath": "/dev/termination-log", "imagePullPolicy": "IfNotPresent"}
    for each in [function, *pod["initContainers"]]:
        each["resources"] = {"limits": {"cpu": "500m", "memory": "1Gi"}}
    function["env"] = [{name: text for name, text in variable.items() if text} for variable in function["env"]]
    for volume in pod["volumes"]:
        if volume["name"] == "secrets":
            volume["projected"]["sources"][0]["secret"]["items"] = None
    return live


def test_what_an_api_server_makes_of_an_object_is_no_drift() -> None:
    assert same(served(wanted()), wanted())


def test_services_and_accounts_are_compared_as_well() -> None:
    for document in (service(FULL, SHAPE), service_account(FULL, SHAPE)):
        live = copy.deepcopy(document)
        live.setdefault("spec", {})["clusterIP"] = "10.0.0.1"
        live["secrets"] = [{"name": "function-echo-token-x"}]
        assert same(live, document)
        live["metadata"]["labels"].pop("faas_function")
        assert not same(live, document)


def test_a_port_that_the_cluster_chose_is_no_drift() -> None:
    live = service(FULL, SHAPE)
    live["spec"]["ports"][0]["nodePort"] = 30123
    assert same(live, service(FULL, SHAPE))
    live["spec"]["ports"][0]["targetPort"] = 81
    assert not same(live, service(FULL, SHAPE))


def change(place: str, value: Any) -> Callable[[Document], None]:
    """Sets a field, or with None removes it; numbers in the place are positions."""

    def apply(document: Document) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in place.split("|")]
        at: Any = document
        for part in way:
            at = at[part]
        if value is None:
            del at[last]
        else:
            at[last] = value

    return apply


POD = "spec|template|spec"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("spec|replicas", 3),
        (f"{POD}|containers|0|image", "other:1"),
        (f"{POD}|containers|0|env|0|value", "2"),
        (f"{POD}|containers|0|env|0", None),
        (f"{POD}|containers|0|command", ["sh"]),
        (f"{POD}|containers|0|resources|limits|cpu", "501m"),
        (f"{POD}|containers|0|resources|limits|memory", None),
        (f"{POD}|containers|0|securityContext|capabilities|drop", None),
        (f"{POD}|containers|0|readinessProbe|periodSeconds", 5),
        (f"{POD}|containers|0|volumeMounts|0|readOnly", None),
        (f"{POD}|securityContext|runAsUser", 0),
        (f"{POD}|automountServiceAccountToken", True),
        (f"{POD}|initContainers", None),
        (f"{POD}|nodeSelector", {}),
        (f"{POD}|affinity", None),
        ("spec|strategy|rollingUpdate|maxUnavailable", 1),
        ("metadata|labels|com.penstock.installation", "x"),
        ("metadata|annotations|com.penstock.spec", "{}"),
    ],
)
def test_what_somebody_changed_is_drift(place: str, value: Any) -> None:
    live = served(wanted())
    change(place, value)(live)
    assert not same(live, wanted())


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("metadata|annotations|example.com/note", "x"),
        ("metadata|labels|argocd", "x"),
        ("spec|template|metadata|annotations|kubectl.kubernetes.io/restartedAt", "now"),
        (f"{POD}|hostAliases", [{"ip": "10.0.0.1"}]),
    ],
)
def test_what_others_add_is_theirs(place: str, value: Any) -> None:
    live = served(wanted())
    change(place, value)(live)
    assert same(live, wanted())


def test_a_container_or_variable_of_others_would_stay_and_is_no_drift() -> None:
    live = served(wanted())
    pod = live["spec"]["template"]["spec"]
    pod["containers"].insert(0, {"name": "sidecar", "image": "x"})
    pod["containers"][1]["env"].append({"name": "EXTRA", "value": "1"})
    assert same(live, wanted())


@pytest.mark.parametrize(
    "function",
    [
        spec(env_vars={"A": "1"}, secrets=("token",)),
        spec(env_vars={"A": "1", "EMPTY": ""}),
        spec(),
    ],
)
def test_what_is_not_wanted_any_more_is_drift(function: Any) -> None:
    assert not same(served(wanted()), wanted(function=function))


def test_a_profile_that_is_gone_is_drift() -> None:
    with_profile = wanted(profiles=[Profile("p", {"tolerations": [{"operator": "Exists"}]})])
    assert not same(served(with_profile), wanted())


def test_the_floor_of_an_alert_comes_and_goes() -> None:
    assert not same(served(wanted()), wanted(floor=2))
    assert not same(served(wanted(floor=2)), wanted())
    assert same(served(wanted(floor=2)), wanted(floor=2))


def test_the_digest_is_of_everything_but_replicas() -> None:
    def digest(**options: Any) -> str:
        return str(wanted(**options)["metadata"]["annotations"][marks.DIGEST])

    assert digest() == digest(desired=7, floor=3)
    assert digest() != digest(rollout="2")
    assert digest() != digest(function=spec())


def test_replicas_of_an_autoscaler_are_no_drift() -> None:
    handed = spec(labels={"com.penstock.kubernetes.hpa": "true"})
    live = deployment(handed, 1, 0, SHAPE)
    live["spec"]["replicas"] = 9
    assert same(live, deployment(handed, 1, 0, SHAPE))
