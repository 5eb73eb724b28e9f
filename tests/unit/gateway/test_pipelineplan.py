"""Who takes part in a pipeline, how long the whole may take, and what is remembered of that."""

from __future__ import annotations

import pytest

from penstock.core.pipelinetarget import StageTarget, read_stage
from penstock.core.policy import AS_STAGES_SAY, Policy
from penstock.errors import FunctionNotFound, InvalidInput
from penstock.gateway.counters import FunctionCounters, WorkerCounters
from penstock.gateway.messages import Route
from penstock.gateway.pipelineplan import Cast, PipelinePlan, find_cast, patience
from penstock.gateway.routes import FunctionRoute, RouteTable
from penstock.wire.client import Pool
from penstock.wire.message import parse_request


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


# What is remembered for a head.


def deployed(*names: str, timeout: float = 60.0) -> RouteTable:
    """Functions without replicas."""
    table = RouteTable(Pool, WorkerCounters(), "openfaas-fn")
    for name in names:
        table.apply(Route(key=f"{name}.openfaas-fn", policy=Policy(timeout=timeout)))
    return table


def planned(asked: str, *fields: str, peer: str = "192.0.2.1:5000") -> PipelinePlan:
    head = "\r\n".join([f"POST /function/{asked} HTTP/1.1", "Host: g", *fields, "", ""]).encode()
    return PipelinePlan(parse_request(head), tuple(read_stage(text) for text in asked.split("|")), peer)


def test_who_takes_part_is_worked_out_once_while_no_function_changes() -> None:
    table, plan = deployed("a", "b"), planned("a|b")
    assert plan.lineup(table) is plan.lineup(table)


def test_a_function_deployed_anew_takes_part_in_place_of_the_one_that_was_removed() -> None:
    table, plan = deployed("a", "b"), planned("a|b")
    before = plan.lineup(table).functions
    table.remove("b.openfaas-fn")
    table.apply(Route(key="b.openfaas-fn"))
    after = plan.lineup(table).functions
    assert after == [before[0], table.find(b"b")]
    assert after[1] is not before[1]


def test_a_function_that_is_removed_is_missed_and_found_when_it_is_back() -> None:
    table, plan = deployed("a", "b"), planned("a|b")
    plan.lineup(table)
    table.remove("b.openfaas-fn")
    for _ in range(2):
        with pytest.raises(FunctionNotFound, match="function b is not deployed"):
            plan.lineup(table)
    table.apply(Route(key="b.openfaas-fn"))
    assert plan.lineup(table).functions == [table.find(b"a"), table.find(b"b")]


def test_before_any_function_is_known_each_one_is_missed() -> None:
    with pytest.raises(FunctionNotFound, match="function a is not deployed"):
        planned("a|b").lineup(deployed())


def test_a_changed_policy_changes_how_long_the_whole_may_take() -> None:
    table, plan = deployed("a", "b", timeout=5.0), planned("a|b")
    assert plan.lineup(table).timeout == 5.0
    table.apply(Route(key="b.openfaas-fn", policy=Policy(timeout=9.0)))
    assert plan.lineup(table).timeout == 9.0


@pytest.mark.parametrize(
    ("fields", "seconds", "hurried"),
    [
        ([], 60.0, False),
        (["X-Timeout: 2s"], 2.0, True),
        (["X-Timeout: 5m"], 60.0, True),
        (["X-Timeout: soon"], 60.0, True),
        (["X-Timeout: -1s"], 60.0, True),
        (["X-Timeout: %d"], 60.0, True),
    ],
)
def test_the_callers_own_limit_holds_where_it_is_shorter(fields: list[str], seconds: float, hurried: bool) -> None:
    lineup = planned("a|b", *fields).lineup(deployed("a", "b"))
    assert (lineup.timeout, lineup.hurried) == (seconds, hurried)


def test_times_are_told_of_as_many_stages_as_have_begun() -> None:
    lineup = planned("a|b|a").lineup(deployed("a", "b"))
    assert lineup.timings(()) == b""
    assert lineup.timings((0.04,)) == b"a;dur=0.0"
    assert lineup.timings((1.25, 20.06, 1234567.0)) == b"a;dur=1.2, b;dur=20.1, a;dur=1234567.0"


def test_a_stages_head_is_made_again_only_when_its_input_is_of_another_type() -> None:
    part = planned("a|b").lineup(deployed("a", "b")).parts[1]
    text = part.request(b"Content-Type: text/plain\r\n")
    assert text.get(b"content-type") == b"text/plain"
    assert part.request(b"Content-Type: text/plain\r\n") is text
    assert part.request(b"").get(b"content-type") is None
    assert text.get(b"content-type") == b"text/plain"


@pytest.mark.parametrize(
    ("fields", "peer", "told"),
    [
        ([], "192.0.2.1:5000", b"X-Forwarded-For: 192.0.2.1:5000\r\n"),
        ([], "", b""),
        (["x-forwarded-for: 198.51.100.7"], "192.0.2.1:5000", b""),
        (
            ["Connection: X-Forwarded-For", "X-Forwarded-For: 6"],
            "192.0.2.1:5000",
            b"X-Forwarded-For: 192.0.2.1:5000\r\n",
        ),
    ],
)
def test_the_client_is_told_of_unless_somebody_told_before(fields: list[str], peer: str, told: bytes) -> None:
    plan = planned("a|b", *fields, peer=peer)
    assert plan.forwarded == told
    assert all(b"192.0.2.1" not in part.prefix for part in plan.lineup(deployed("a", "b")).parts)
