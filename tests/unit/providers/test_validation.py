from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec, Secret
from penstock.providers.validation import (
    MAX_ENV_ENTRY,
    MAX_REPLICAS,
    MAX_SECRET,
    check_pipeline_spec,
    check_program,
    check_replicas,
    check_same_kind,
    check_secret,
    check_spec,
    refuse_logs,
    refuse_scaling,
)


def test_a_usual_specification_passes() -> None:
    check_spec(FunctionSpec(name="f", env_process="cat", env_vars={"A": "", "b.c-d": "日本 = x\n"}, secrets=("key",)))


@pytest.mark.parametrize(
    "spec",
    [
        FunctionSpec(name="f", env_vars={"A": "\x00"}),
        FunctionSpec(name="f", env_vars={"A=": "x"}),
        FunctionSpec(name="f", env_vars={"A": "\ud800"}),
        FunctionSpec(name="f", env_vars={"A": "x" * (MAX_ENV_ENTRY - 1)}),
        FunctionSpec(name="f", env_vars={f"A{i}": "x" * 100_000 for i in range(11)}),
        FunctionSpec(name="f", env_process="x" * MAX_ENV_ENTRY),
        FunctionSpec(name="f", labels={"a": "\x00"}),
        FunctionSpec(name="f", annotations={"\ud800": "b"}),
        FunctionSpec(name="f", image="\x00"),
        FunctionSpec(name="f", secrets=("../x",)),
        FunctionSpec(name="f", namespace="../x"),
        FunctionSpec(name="f", labels={"com.openfaas.scale.min": "1000000"}),
        FunctionSpec(name="f", labels={"com.penstock.timout": "5s"}),
        FunctionSpec(name="f", labels={"com.penstock.owner": "another"}),
    ],
    ids=lambda spec: repr(spec)[:40],
)
def test_what_could_not_be_stored_or_run_is_refused(spec: FunctionSpec) -> None:
    with pytest.raises(InvalidInput):
        check_spec(spec)


def test_the_longest_variable_that_execve_takes_passes() -> None:
    check_spec(FunctionSpec(name="f", env_vars={"A": "x" * (MAX_ENV_ENTRY - 2)}))


@given(st.text(), st.text(), st.text())
def test_any_text_passes_or_is_invalid_input(name: str, key: str, value: str) -> None:
    spec = FunctionSpec(name=name, env_process=value, env_vars={key: value}, labels={key: value})
    try:
        check_spec(spec)
    except InvalidInput:
        return


def test_a_program_is_named_in_one_of_three_ways() -> None:
    check_program(FunctionSpec(name="f", env_process="cat"))
    check_program(FunctionSpec(name="f", env_vars={"fprocess": "cat"}))
    check_program(FunctionSpec(name="f", env_vars={"mode": "static"}))
    with pytest.raises(InvalidInput, match=r"envProcess.*docker provider.*figlet"):
        check_program(FunctionSpec(name="f", image="figlet:latest"))


@pytest.mark.parametrize("replicas", [-1, MAX_REPLICAS + 1, 2**80])
def test_replica_counts_have_bounds(replicas: int) -> None:
    with pytest.raises(InvalidInput, match="replicas"):
        check_replicas(replicas)


def test_secrets_have_a_size() -> None:
    check_secret(Secret(name="s", value=b"x" * MAX_SECRET))
    with pytest.raises(InvalidInput, match="1048577 bytes"):
        check_secret(Secret(name="s", value=b"x" * (MAX_SECRET + 1)))


@pytest.mark.parametrize(
    "environ",
    [
        {"mode": "python", "handler": "/srv/hello"},
        {"mode": "asgi", "handler": "shop.main:app"},
        {"mode": "wsgi", "handler": "/srv/main.py:app"},
        {"mode": "python", "handler": "./hello.py", "HOME": "/srv"},
        {"mode": "python", "python_path": "/srv/libraries"},
        {"mode": "static"},
    ],
)
def test_modes_that_import_or_serve_files_need_no_program(environ: dict[str, str]) -> None:
    check_program(FunctionSpec(name="f", env_vars=environ))


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"mode": "python"}, "handler: is required"),
        ({"mode": "python", "handler": "./hello"}, "absolute"),
        ({"mode": "asgi", "handler": "main.py:app"}, "absolute"),
        ({"mode": "prefork"}, "envProcess: is required"),
        ({"mode": "afterburn", "handler": "/srv/hello"}, "envProcess: is required"),
    ],
)
def test_what_can_never_be_started_is_refused(environ: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        check_program(FunctionSpec(name="f", env_vars=environ))


def test_a_function_of_a_name_that_is_a_pipelines_is_told_what_to_do_and_the_other_way_round() -> None:
    function, pipeline = FunctionSpec(name="f"), FunctionSpec(name="f", stages=("sort",))
    with pytest.raises(
        InvalidInput, match=r"^service: f\.openfaas-fn is a pipeline; delete it before a function takes"
    ):
        check_same_kind(function, pipeline)
    with pytest.raises(
        InvalidInput, match=r"^service: f\.openfaas-fn is a function; delete it before a pipeline takes"
    ):
        check_same_kind(pipeline, function)
    check_same_kind(pipeline, pipeline)
    check_same_kind(function, function)


def test_a_message_about_a_pipeline_names_each_stage_once() -> None:
    spec = FunctionSpec(name="f", namespace="dev", stages=("sort/x", "wc.other?a", "sort"))
    with pytest.raises(InvalidInput, match=r"no replicas of its own; scale sort\.dev, wc\.other$"):
        refuse_scaling(spec)
    with pytest.raises(InvalidInput, match=r"writes no logs; read those of sort\.dev, wc\.other$"):
        refuse_logs(spec)


@pytest.mark.parametrize("name", ["labels", "annotations"])
def test_texts_of_a_pipeline_are_judged_as_those_of_a_function(name: str) -> None:
    spec = FunctionSpec(name="f", stages=("sort",), **{name: {"a": "\x00"}})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=name):
        check_pipeline_spec(spec, [])
