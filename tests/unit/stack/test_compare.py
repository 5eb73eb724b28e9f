"""Where two specifications differ."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.model import FunctionSpec, Resources
from penstock.stack.compare import Difference, differences


def spec(**fields: Any) -> FunctionSpec:
    return FunctionSpec(name="f", **fields)


def test_the_same_has_no_lines() -> None:
    both = {"image": "a:1", "env_vars": {"A": "1"}, "labels": {"l": "1"}, "limits": Resources(cpu="1")}
    assert differences(spec(**both), spec(**both)) == []


def test_each_field_has_its_line() -> None:
    wanted = spec(image="a:1", secrets=("s",), labels={"l": "1"}, limits=Resources(memory="1Gi"), read_only_root=True)
    deployed = spec(image="a:2", constraints=("c",), labels={"l": "2", "faas_function": "f"})
    assert differences(wanted, deployed) == [
        Difference("constraint.c", None, "present"),
        Difference("image", "a:1", "a:2"),
        Difference("label.l", "1", "2"),
        Difference("limits.memory", "1Gi", None),
        Difference("readonly_root_filesystem", "true", "false"),
        Difference("secret.s", "present", None),
    ]


def test_a_program_line_that_only_the_deployed_one_has_is_its_templates() -> None:
    assert differences(spec(), spec(env_process="cat")) == []
    assert differences(spec(env_process="wc"), spec(env_process="cat")) == [Difference("fprocess", "wc", "cat")]


@pytest.mark.parametrize(
    ("variables", "fields"),
    [("local", ["env.A", "env.B"]), ("remote", ["env.B", "env.C"]), ("all", ["env.A", "env.B", "env.C"])],
)
def test_whose_variables_count(variables: Any, fields: list[str]) -> None:
    wanted, deployed = spec(env_vars={"A": "1", "B": "1"}), spec(env_vars={"B": "2", "C": "1"})
    assert [line.field for line in differences(wanted, deployed, variables)] == fields


def test_stages_are_one_line() -> None:
    wanted, deployed = spec(stages=("sort", "uniq"), labels={"a": "b"}), spec(stages=("sort", "wc"))
    assert differences(wanted, deployed) == [
        Difference("label.a", "b", None),
        Difference("stages", "sort | uniq", "sort | wc"),
    ]
    assert differences(wanted, wanted) == []
