"""The objects of a function, and what is read back from them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from penstock.errors import InvalidInput
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.manifests import (
    Shape,
    account_name,
    check,
    created_of,
    deployment,
    desired_of,
    floor_of,
    handover,
    has_own_account,
    is_handed_over,
    is_ours,
    port_of,
    refuse_number,
    rollout_of,
    service,
    service_account,
    spec_of,
)
from tests.unit.providers.kubernetes.objects import SHAPE, made, spec
from tests.unit.providers.kubernetes.schemas import check_schemas


def test_every_object_is_one_that_the_api_knows_and_that_we_know_again() -> None:
    for document in (deployment(spec(), 2, 1, SHAPE), service(spec(), SHAPE), service_account(spec(), SHAPE)):
        check_schemas(document)
        assert is_ours(document, "lab") and not is_ours(document, "other")
        assert document["metadata"]["labels"]["faas_function"] == "echo"
        assert document["metadata"]["namespace"] == "openfaas-fn"


@pytest.mark.parametrize("metadata", [{}, {"labels": None}, {"labels": {"app.kubernetes.io/managed-by": "Helm"}}])
def test_objects_of_others_are_not_ours(metadata: dict[str, Any]) -> None:
    assert not is_ours({"metadata": metadata}, "lab")


def test_a_deployment_is_read_back() -> None:
    wanted = spec(env_vars={"A": "1"}, labels={"team": "blue"}, annotations={"note": "é"})
    document = deployment(wanted, 3, 2, SHAPE, rollout="7")
    document["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05Z"
    assert spec_of(document) == wanted
    assert (desired_of(document), floor_of(document), rollout_of(document)) == (3, 2, "7")
    assert created_of(document) == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "{", '{"name": 1}', "[]", "\ud800"])
def test_a_specification_that_cannot_be_read_is_said_so(text: str) -> None:
    document = made(spec())
    document["metadata"]["annotations"][marks.SPEC] = text
    with pytest.raises(InvalidInput, match="openfaas-fn/echo cannot be read"):
        spec_of(document)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "²", "9999999", "many"])
def test_a_floor_that_cannot_be_read_is_none(text: str) -> None:
    assert floor_of({"metadata": {"annotations": {marks.FLOOR: text}}}) == 0


def test_where_nothing_is_said_kubernetes_makes_one_replica() -> None:
    assert desired_of({"spec": {}}) == 1
    assert desired_of({"spec": {"replicas": 0}}) == 0


def test_updates_roll_without_a_replica_less() -> None:
    assert made(spec())["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }


def test_pods_are_selected_by_the_name_alone_which_never_changes() -> None:
    document = made(spec(labels={"team": "blue"}))
    assert document["spec"]["selector"] == {"matchLabels": {"faas_function": "echo"}}
    assert document["spec"]["template"]["metadata"]["labels"] == {
        "team": "blue",
        "faas_function": "echo",
        "app.kubernetes.io/managed-by": "penstock",
        "com.penstock.installation": "lab",
    }


def test_another_rollout_makes_new_pods_and_the_same_one_does_not() -> None:
    first, again, second = (deployment(spec(), 1, 0, SHAPE, rollout=text) for text in ("1", "1", "2"))
    assert first == again
    assert first["spec"]["template"] != second["spec"]["template"]


def test_replicas_and_the_floor_of_an_alert_are_not_in_the_pods() -> None:
    assert deployment(spec(), 1, 0, SHAPE)["spec"]["template"] == deployment(spec(), 5, 5, SHAPE)["spec"]["template"]


def test_annotations_of_the_function_are_on_all_its_objects_that_people_look_at() -> None:
    wanted = spec(annotations={"topic": "orders", "example.com/x": "y"})
    document = made(wanted)
    for holder in (document, document["spec"]["template"], service(wanted, SHAPE)):
        assert wanted.annotations.items() <= holder["metadata"]["annotations"].items()


@pytest.mark.parametrize(
    "given", [{"prometheus.io.scrape": "true"}, {"prometheus.io/scrape": "true"}, {"prometheus.io/scrape": "false"}]
)
def test_a_function_says_itself_whether_it_is_scraped(given: dict[str, str]) -> None:
    found = made(spec(annotations=given))["spec"]["template"]["metadata"]["annotations"]
    assert {name: text for name, text in found.items() if "scrape" in name} == given


def test_pods_are_not_scraped_by_default() -> None:
    assert made(spec())["spec"]["template"]["metadata"]["annotations"] == {"prometheus.io.scrape": "false"}


def test_the_service_leads_to_the_port_of_the_container() -> None:
    wanted = spec(env_process="", labels={"com.penstock.http-port": "80"})
    assert port_of(wanted) == 80
    assert service(wanted, SHAPE)["spec"] == {
        "type": "ClusterIP",
        "selector": {"faas_function": "echo"},
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "targetPort": 80}],
    }


def test_a_gateway_outside_of_the_cluster_is_given_a_port_of_the_nodes() -> None:
    outside = Shape(installation="lab", watchdog_image="penstock:1", reach="nodeport")
    document = service(spec(), outside)
    check_schemas(document)
    assert document["spec"]["type"] == "NodePort"


def test_a_function_has_an_account_of_its_own_without_a_token() -> None:
    document = service_account(spec(), SHAPE)
    assert document["metadata"]["name"] == account_name(spec()) == "function-echo"
    assert document["automountServiceAccountToken"] is False
    assert has_own_account(spec())


def test_a_named_account_is_used_instead() -> None:
    named = spec(annotations={"com.openfaas.serviceaccount": "reader"})
    assert account_name(named) == "reader"
    assert not has_own_account(named)


def test_replicas_that_are_handed_over_are_not_written() -> None:
    handed = spec(labels={"com.penstock.kubernetes.hpa": "true"})
    document = made(handed)
    assert is_handed_over(handed) and "replicas" not in document["spec"]
    assert made(spec())["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image": ""}, "image: is required"),
        ({"image": "a b"}, "cannot name an image"),
        ({"name": "1st"}, "begins with a digit"),
        ({"labels": {"com.penstock.kubernetes.hpa": "yes"}}, "must be true or false"),
        ({"labels": {"com.penstock.kubernetes.user": "root"}}, "must be the number of a user"),
        ({"labels": {"com.penstock.capabilities": "SYS_ADMIN"}}, "nothing that a function may have"),
        ({"labels": {"bad label": "x"}}, "no name for Kubernetes"),
        ({"annotations": {"com.openfaas.serviceaccount": "../x"}}, "cannot be the name of a ServiceAccount"),
        ({"annotations": {"com.openfaas.profile": "A b"}}, "cannot be the name of a profile"),
        ({"annotations": {"kubernetes.io/x": "1"}}, "steers the cluster"),
        ({"constraints": ("node.id==x",)}, "nodes of a cluster have no node.id"),
        ({"env_vars": {"1A": ""}}, "cannot name a variable on Kubernetes"),
        ({"env_vars": {"A": "x" * 130_000, "B": "x" * 130_000}}, "Kubernetes keeps at most"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_before(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check(spec(**fields))


def test_the_largest_specification_that_is_accepted_fits() -> None:
    wanted = spec(env_vars={"A": "x" * 125_000, "B": "x" * 125_000})
    document = made(wanted)
    size = sum(len(name) + len(text) for name, text in document["metadata"]["annotations"].items())
    assert size < 256 << 10
    assert len(msgspec.json.encode(document)) < 1 << 20


# Handing replicas over


@pytest.mark.parametrize(("there", "asked"), [(3, 4), (3, 1), (1, 2)])
def test_a_number_that_an_autoscaler_decides_is_refused(there: int, asked: int) -> None:
    live = deployment(spec(labels={"com.penstock.kubernetes.hpa": "true"}), 1, 0, SHAPE)
    live["spec"]["replicas"] = there
    with pytest.raises(InvalidInput, match=rf"has {there} by an autoscaler of the cluster"):
        refuse_number(live, asked)
    refuse_number(deployment(spec(), there, 0, SHAPE), asked)


@pytest.mark.parametrize(("there", "asked"), [(3, 0), (0, 1), (0, 5), (3, 3)])
def test_rest_and_waking_stay_with_the_platform(there: int, asked: int) -> None:
    live = deployment(spec(labels={"com.penstock.kubernetes.hpa": "true"}), 1, 0, SHAPE)
    live["spec"]["replicas"] = there
    refuse_number(live, asked)


def managed(manager: str, *fields: str) -> dict[str, Any]:
    return {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {f"f:{field}": {} for field in fields}}}


@pytest.mark.parametrize(
    ("entries", "needed"),
    [
        ([managed("penstock", "replicas", "template")], True),
        ([managed("kubectl", "replicas"), managed("penstock", "template")], False),
        ([{**managed("penstock", "replicas"), "operation": "Update"}], False),
        ([{"manager": "penstock", "operation": "Apply", "fieldsV1": None}], False),
        ([], False),
        (None, False),
    ],
)
def test_a_number_that_only_we_said_is_kept_for_the_autoscaler(entries: Any, needed: bool) -> None:
    handed = made(spec(labels={"com.penstock.kubernetes.hpa": "true"}))
    live = deployment(spec(), 7, 0, SHAPE)
    live["metadata"]["managedFields"] = entries
    first = handover(live, handed)
    assert (first is not None) == needed
    if first:
        check_schemas({**first, "spec": {**live["spec"], **first["spec"]}})
        assert first["spec"] == {"replicas": 7}
        assert first["metadata"] == {"name": "echo", "namespace": "openfaas-fn"}


def test_nothing_is_handed_over_while_we_say_the_number_or_nobody_does() -> None:
    handed = made(spec(labels={"com.penstock.kubernetes.hpa": "true"}))
    assert handover(deployment(spec(), 7, 0, SHAPE), deployment(spec(), 7, 0, SHAPE)) is None
    assert handover(handed, handed) is None
    assert handover(deployment(spec(), 7, 0, SHAPE), handed) is not None
