"""Labels, annotations and names of variables that Kubernetes takes."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.providers.kubernetes.syntax import MOST_ANNOTATIONS, SPARE, check_size, check_texts, object_labels
from tests.unit.providers.kubernetes.objects import made, spec

HOSTILE = ["", "a b", "a\n", "é", "-a", "a-", "/a", "a/", "a//b", "A.com/x", "a_b.com/x", "x" * 64, "x/" + "y" * 64]


@pytest.mark.parametrize(
    "name", ["a", "A_b.c-d", "0", "example.com/a", "app.kubernetes.io/part-of", "x" * 63, f"{'x' * 63}.com/{'y' * 63}"]
)
def test_a_name_that_kubernetes_takes(name: str) -> None:
    check_texts(spec(labels={name: "v"}))
    made(spec(labels={name: ""}))


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_kubernetes_refuses(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^labels: .* no name for Kubernetes"):
        check_texts(spec(labels={name: "v"}))
    with pytest.raises(InvalidInput, match=r"^annotations: .* no name for Kubernetes"):
        check_texts(spec(annotations={name: "v"}))


def test_a_domain_is_no_longer_than_a_domain() -> None:
    with pytest.raises(InvalidInput):
        check_texts(spec(labels={".".join(["x" * 63] * 4) + "/a": "v"}))


@pytest.mark.parametrize("value", ["a b", "a\n", "é", "-a", "a-", "a,b", "x" * 64, "a/b"])
def test_a_value_that_kubernetes_refuses_is_better_an_annotation(value: str) -> None:
    with pytest.raises(InvalidInput, match="use an annotation"):
        check_texts(spec(labels={"team": value}))
    check_texts(spec(annotations={"team": value}))


def test_a_label_of_ours_with_such_a_value_stays_in_the_specification() -> None:
    wanted = spec(labels={"com.penstock.capabilities": "CHOWN,SETUID", "team": "blue"})
    check_texts(wanted)
    assert object_labels(wanted) == {"team": "blue"}


def test_a_label_that_the_api_lists_may_come_back() -> None:
    check_texts(spec(labels={"faas_function": "echo"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("faas_function", "other"), ("app.kubernetes.io/managed-by", "Helm"), ("pod-template-hash", "1")],
)
def test_labels_by_which_objects_are_known_cannot_be_given(name: str, value: str) -> None:
    with pytest.raises(InvalidInput, match="leave it out"):
        check_texts(spec(labels={name: value}))


@pytest.mark.parametrize(
    "name", ["com.penstock.spec", "com.penstock.floor", "com.penstock.rollout", "com.penstock.digest"]
)
def test_annotations_of_ours_cannot_be_given(name: str) -> None:
    with pytest.raises(InvalidInput, match="written by the platform"):
        check_texts(spec(annotations={name: "9"}))


@pytest.mark.parametrize(
    "name",
    [
        "kubernetes.io/config.source",
        "deployment.kubernetes.io/revision",
        "seccomp.security.alpha.kubernetes.io/pod",
        "container.apparmor.security.beta.kubernetes.io/function",
        "SERVICE.beta.Kubernetes.io/aws-load-balancer-internal",
        "x.k8s.io/y",
    ],
)
def test_annotations_that_steer_the_cluster_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"steers the cluster|no name for Kubernetes"):
        check_texts(spec(annotations={name: "1"}))


@pytest.mark.parametrize("name", ["cluster-autoscaler.kubernetes.io/safe-to-evict", "notkubernetes.io/x", "topic"])
def test_other_annotations_are_the_functions_own(name: str) -> None:
    check_texts(spec(annotations={name: "1"}))


@pytest.mark.parametrize("name", ["1A", "A B", "A(", ".", "..", "..A", "é", "A\n", "%"])
def test_a_variable_that_older_clusters_refuse(name: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a variable"):
        check_texts(spec(env_vars={name: "1"}))


@pytest.mark.parametrize("name", ["A", "_", "a.b-c", ".a", "-", "Http_Path"])
def test_a_variable_that_clusters_take(name: str) -> None:
    check_texts(spec(env_vars={name: "1"}))


def test_what_is_refused_is_told_shortened_and_escaped() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_texts(spec(annotations={"\n\x1b[2J" + "x" * 10_000: "1"}))
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value) and len(str(caught.value)) < 600


def test_annotations_have_a_size_in_bytes() -> None:
    check_size({"a": "é" * ((MOST_ANNOTATIONS - SPARE - 2) // 2)}, "echo.openfaas-fn")
    with pytest.raises(InvalidInput, match=r"echo\.openfaas-fn takes 258050 bytes"):
        check_size({"a": "x" * 258_049}, "echo.openfaas-fn")
