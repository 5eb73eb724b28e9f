"""Who takes part in a pipeline, and how long the whole may take."""

from __future__ import annotations

import pytest

from penstock.core.pipelinetarget import StageTarget, read_stage
from penstock.core.policy import AS_STAGES_SAY, Policy
from penstock.errors import FunctionNotFound, InvalidInput
from penstock.gateway.counters import FunctionCounters
from penstock.gateway.pipelineplan import Cast, find_cast, patience
from penstock.gateway.routes import FunctionRoute


def function(name: str, timeout: float = 60.0, *stages: str) -> FunctionRoute:
    route = FunctionRoute(name, Policy(timeout=timeout), FunctionCounters(name))
    route.stages = tuple(map(read_stage, stages))
    return route


def cast(asked: str, *functions: FunctionRoute) -> tuple[Cast, list[StageTarget]]:
    known = {route.key.encode(): route for route in functions}
    stages = [read_stage(text) for text in asked.split("|")]
    return find_cast(stages, known.get), stages


def test_named_pipelines_are_taken_apart_in_their_order() -> None:
    found, _ = cast("a|q", function("a"), function("p", 1, "a/x", "b"), function("q", 1, "p", "a"), function("b"))
    assert [(stage.name, stage.target) for stage in found.stages] == [
        (b"a", b"/"),
        (b"a", b"/x"),
        (b"b", b"/"),
        (b"a", b"/"),
    ]
    assert [route.key for route in found.functions] == ["a", "a", "b", "a"]
    assert [route.key for route in found.pipelines] == ["q", "p"]


def test_a_path_goes_to_the_last_stage_of_the_innermost_pipeline() -> None:
    found, _ = cast("q/x?y=1", function("a"), function("p", 1, "a", "a"), function("q", 1, "a", "p"))
    assert [stage.target for stage in found.stages] == [b"/", b"/", b"/x?y=1"]


def test_who_is_missing_is_named() -> None:
    with pytest.raises(FunctionNotFound, match="function gone is not deployed"):
        cast("p", function("p", 1, "gone"))


def test_a_pipeline_that_leads_to_itself_is_refused() -> None:
    with pytest.raises(InvalidInput, match="leads to itself"):
        cast("p", function("p", 1, "q"), function("q", 1, "p"))


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("a", 5.0),
        ("a|b", 20.0),
        ("a|endless", 0.0),
        ("limited", 7.0),
        ("unlimited", 20.0),
        ("never-ends", 0.0),
        ("limited|a", 20.0),
        ("outer", 20.0),
    ],
)
def test_the_whole_may_take_as_long_as_its_name_says_or_its_most_patient_function(asked: str, seconds: float) -> None:
    found, stages = cast(
        asked,
        function("a", 5.0),
        function("b", 20.0),
        function("endless", 0.0),
        function("limited", 7.0, "a", "b"),
        function("unlimited", AS_STAGES_SAY, "a", "b"),
        function("never-ends", 0.0, "a"),
        function("outer", AS_STAGES_SAY, "limited"),
    )
    assert patience(found, stages) == seconds
