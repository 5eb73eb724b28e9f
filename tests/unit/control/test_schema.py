"""The wire types of the REST API: golden texts of what clients parse, and the fields that requests are read from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from penstock.control.decode import JsonObject
from penstock.control.schema import (
    MAX_SECRET,
    encode,
    function_details,
    function_status,
    log_message,
    namespace_status,
    read_function_namespace,
    read_function_spec,
    read_replicas,
    read_secret,
    rfc3339,
)
from penstock.errors import InvalidInput, TooLarge
from penstock.model import Function, FunctionSpec, LogLine, Namespace, Replica, Resources, Usage

NS = "openfaas-fn"
BORN = datetime(2026, 11, 23, 6, 15, 16, tzinfo=UTC)


def a_function(**changes: object) -> Function:
    spec = FunctionSpec(name="cat", image="example/cat:1", env_process="cat")
    fields: dict[str, object] = {"spec": spec, "desired": 1, "created_at": BORN} | changes
    return Function(**fields)  # type: ignore[arg-type]


def test_a_bare_function_status_has_exactly_what_clients_dereference() -> None:
    function = a_function(spec=FunctionSpec(name="cat"), desired=0)
    assert encode(function_status(function)) == (
        b'{"name":"cat","image":"","namespace":"openfaas-fn","labels":{"faas_function":"cat"},'
        b'"annotations":{},"createdAt":"2026-11-23T06:15:16Z"}'
    )


def test_a_full_function_status_echoes_the_specification_verbatim() -> None:
    spec = FunctionSpec(
        name="cat",
        namespace="team",
        image="example/cat:1",
        env_process="cat -",
        env_vars={"A": "1"},
        constraints=("disk=ssd",),
        secrets=("token",),
        labels={"x": "y"},
        annotations={"note": "z"},
        limits=Resources(memory="0.5Gi", cpu="500m"),
        requests=Resources(memory="128Mi"),
        read_only_root=True,
    )
    replica = Replica(id="r1", state="ready", address="unix:/r1")
    status = function_status(a_function(spec=spec, desired=2, replicas=(replica,)), invocations=12)
    assert encode(status) == (
        b'{"name":"cat","image":"example/cat:1","namespace":"team","envProcess":"cat -","envVars":{"A":"1"},'
        b'"constraints":["disk=ssd"],"secrets":["token"],"limits":{"memory":"0.5Gi","cpu":"500m"},'
        b'"requests":{"memory":"128Mi"},"readOnlyRootFilesystem":true,"invocationCount":12,"replicas":2,'
        b'"availableReplicas":1,"labels":{"faas_function":"cat","x":"y"},"annotations":{"note":"z"},'
        b'"createdAt":"2026-11-23T06:15:16Z"}'
    )


def test_a_users_own_faas_function_label_is_kept() -> None:
    spec = FunctionSpec(name="cat", labels={"faas_function": "other"})
    assert function_status(a_function(spec=spec))["labels"] == {"faas_function": "other"}


def test_details_list_instances_with_the_reason_why_one_is_not_ready() -> None:
    replicas = (
        Replica(id="a", state="ready", address="unix:/a", restarts=2, started_at=BORN),
        Replica(id="b", state="backoff", reason="exit code 1"),
    )
    assert function_details(a_function(replicas=replicas))["instances"] == [
        {"id": "a", "state": "ready", "restarts": 2, "startedAt": "2026-11-23T06:15:16Z"},
        {"id": "b", "state": "backoff", "restarts": 0, "reason": "exit code 1"},
    ]


def test_details_without_replicas_or_usage_have_neither_field() -> None:
    details = function_details(a_function())
    assert "instances" not in details
    assert "usage" not in details


def test_usage_has_the_names_clients_read_and_no_zeros() -> None:
    details = function_details(a_function(usage=Usage(cpu_millis=12.5)))
    assert details["usage"] == {"cpu": 12.5}
    details = function_details(a_function(usage=Usage(cpu_millis=1, memory_bytes=2)))
    assert details["usage"] == {"cpu": 1, "totalMemoryBytes": 2}


def test_times_always_carry_a_zone() -> None:
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5)) == "2026-01-02T03:04:05Z"
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5, 6, timezone(timedelta(hours=2)))) == "2026-01-02T03:04:05.000006+02:00"


def test_a_log_message_has_all_five_fields_even_when_empty() -> None:
    line = LogLine(name="cat", namespace=NS, instance="", timestamp=BORN, text='a "quoted"\tline')
    assert encode(log_message(line)) == (
        b'{"name":"cat","namespace":"openfaas-fn","instance":"","timestamp":"2026-11-23T06:15:16Z",'
        b'"text":"a \\"quoted\\"\\tline"}'
    )


def test_a_namespace_always_has_labels_and_annotations_only_when_given() -> None:
    assert namespace_status(Namespace(name="a")) == {"name": "a", "labels": {}}
    full = Namespace(name="a", labels={"openfaas": "1"}, annotations={"x": "y"})
    assert namespace_status(full) == {"name": "a", "labels": {"openfaas": "1"}, "annotations": {"x": "y"}}


def test_a_deployment_as_faas_cli_sends_it_is_read_completely() -> None:
    body = JsonObject.parse(
        b'{"service":"cat","image":"example/cat:1","namespace":"team","envProcess":"cat","envVars":{"A":"1"},'
        b'"constraints":["c"],"secrets":["s"],"labels":{"l":"1"},"annotations":{"a":"1"},'
        b'"limits":{"memory":"1Gi","cpu":"1"},"requests":{"memory":"1Mi"},"readOnlyRootFilesystem":true}'
    )
    assert read_function_spec(body, NS) == FunctionSpec(
        name="cat",
        namespace="team",
        image="example/cat:1",
        env_process="cat",
        env_vars={"A": "1"},
        constraints=("c",),
        secrets=("s",),
        labels={"l": "1"},
        annotations={"a": "1"},
        limits=Resources(memory="1Gi", cpu="1"),
        requests=Resources(memory="1Mi"),
        read_only_root=True,
    )


def test_a_deployment_with_nulls_and_retired_fields_is_read() -> None:
    body = JsonObject.parse(
        b'{"service":"cat","labels":null,"annotations":null,"limits":null,"network":"n","registryAuth":"eDp5"}'
    )
    assert read_function_spec(body, NS) == FunctionSpec(name="cat")


@pytest.mark.parametrize("name", ["", "..", "a/b", "a%2fb", "A", "ä", "a.b", "-a", "a-", "a" * 64, "a\n", "a b"])
def test_names_that_are_no_dns_label_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^service: "):
        read_function_spec(JsonObject({"service": name}), NS)


def test_a_body_namespace_wins_over_the_fallback() -> None:
    assert read_function_spec(JsonObject({"service": "a", "namespace": "b"}), "c").namespace == "b"
    assert read_function_spec(JsonObject({"service": "a", "namespace": ""}), "c").namespace == "c"


def test_a_bad_body_namespace_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"^namespace: "):
        read_function_spec(JsonObject({"service": "a", "namespace": "../b"}), NS)


def test_replicas_left_out_are_refused_rather_than_taken_for_zero() -> None:
    with pytest.raises(InvalidInput, match="replicas: is required"):
        read_replicas(JsonObject({"serviceName": "a"}))
    assert read_replicas(JsonObject({"replicas": 0})) == 0


def test_raw_value_wins_over_value_and_may_hold_any_bytes() -> None:
    assert read_secret(JsonObject({"name": "s", "value": "text", "rawValue": "/wA="}), NS).value == b"\xff\x00"


def test_an_empty_raw_value_leaves_the_value() -> None:
    assert read_secret(JsonObject({"name": "s", "value": "text", "rawValue": ""}), NS).value == b"text"


def test_a_secret_of_the_largest_size_is_read_and_one_byte_more_is_too_large() -> None:
    assert len(read_secret(JsonObject({"name": "s", "value": "x" * MAX_SECRET}), NS).value) == MAX_SECRET
    with pytest.raises(TooLarge, match="at most 1048576"):
        read_secret(JsonObject({"name": "s", "value": "x" * (MAX_SECRET + 1)}), NS)


@pytest.mark.parametrize("name", ["", "..", "a..b", "../x", "a/b", "S", "a" * 254])
def test_secret_names_that_could_be_paths_are_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match=r"^secret: "):
        read_secret(JsonObject({"name": name}), NS)


def test_a_namespace_object_is_read_under_the_name_agreed_on() -> None:
    body = JsonObject({"name": "x", "labels": {"openfaas": "1"}, "annotations": {"openfaas": "1"}})
    assert read_function_namespace(body, "x") == Namespace(
        name="x", labels={"openfaas": "1"}, annotations={"openfaas": "1"}
    )


def test_a_pipeline_is_read_and_reported_with_its_stages_and_without_replicas() -> None:
    body = JsonObject({"service": "p", "Pipeline": ["sort/a?b=c", "uniq.dev"], "labels": {"a": "b"}})
    spec = read_function_spec(body, NS)
    assert spec == FunctionSpec(name="p", stages=("sort/a?b=c", "uniq.dev"), labels={"a": "b"})
    assert encode(function_details(a_function(spec=spec, desired=0))) == (
        b'{"name":"p","image":"","namespace":"openfaas-fn","pipeline":["sort/a?b=c","uniq.dev"],'
        b'"labels":{"faas_function":"p","a":"b"},"annotations":{},"createdAt":"2026-11-23T06:15:16Z"}'
    )


@pytest.mark.parametrize("pipeline", ["a|b", {"a": "b"}, 1, [1], [["a"]]])
def test_stages_that_are_no_list_of_texts_are_refused(pipeline: object) -> None:
    with pytest.raises(InvalidInput, match=r"^pipeline"):
        read_function_spec(JsonObject({"service": "p", "pipeline": pipeline}), NS)
