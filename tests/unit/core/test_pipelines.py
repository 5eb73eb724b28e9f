"""Named pipelines by themselves."""

from __future__ import annotations

import pytest

from penstock.core.pipelines import MAX_DEPTH, check_pipeline, resolve_stage, split_pipeline, stage_keys
from penstock.core.pipelinetarget import MAX_STAGES
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec


def pipeline(name: str, *stages: str, namespace: str = "openfaas-fn") -> FunctionSpec:
    return FunctionSpec(name=name, namespace=namespace, stages=stages)


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("sort", "sort.dev"),
        ("sort.other", "sort.other"),
        ("sort/a.b?c=d.e", "sort.dev/a.b?c=d.e"),
        ("sort?c=d.e", "sort.dev?c=d.e"),
        ("sort.other/a", "sort.other/a"),
    ],
)
def test_a_stage_without_a_namespace_is_in_that_of_its_pipeline(text: str, resolved: str) -> None:
    assert resolve_stage(text, "dev") == resolved


def test_the_keys_of_stages_keep_their_order_and_repetitions() -> None:
    spec = pipeline("p", "b/x", "a.other?y", "b", namespace="dev")
    assert stage_keys(spec) == ("b.dev", "a.other", "b.dev")


def test_stages_may_name_what_there_is_not_and_the_same_function_twice() -> None:
    check_pipeline(pipeline("p", "sort", "rev", "sort", "rev"), [])


def test_a_pipeline_may_contain_others_in_any_namespace() -> None:
    others = [pipeline("q", "r.dev", "x"), pipeline("r", "y", "z", namespace="dev"), FunctionSpec(name="x")]
    check_pipeline(pipeline("p", "q", "q", "r.dev"), others)


def test_a_pipeline_that_names_itself_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"p\.openfaas-fn → p\.openfaas-fn$"):
        check_pipeline(pipeline("p", "sort", "p.openfaas-fn/x"), [])


def test_a_function_of_the_same_name_in_another_namespace_is_no_cycle() -> None:
    check_pipeline(pipeline("p", "p.dev"), [pipeline("p", "sort", namespace="dev")])


def test_a_cycle_through_others_is_refused_and_told() -> None:
    others = [pipeline("q", "sort", "r"), pipeline("r", "p", "uniq")]
    with pytest.raises(InvalidInput, match=r"p\.openfaas-fn → q\.openfaas-fn → r\.openfaas-fn → p\.openfaas-fn$"):
        check_pipeline(pipeline("p", "q"), others)


def test_the_pipeline_that_is_replaced_does_not_count() -> None:
    check_pipeline(pipeline("p", "sort"), [pipeline("p", "q"), pipeline("q", "p")])


def test_another_cycle_that_it_is_no_part_of_does_not_matter() -> None:
    check_pipeline(pipeline("p", "sort"), [pipeline("a", "b"), pipeline("b", "a")])


def test_a_cycle_below_it_is_found_as_well() -> None:
    with pytest.raises(InvalidInput, match=r"a\.openfaas-fn → b\.openfaas-fn → a\.openfaas-fn$"):
        check_pipeline(pipeline("p", "a"), [pipeline("a", "b"), pipeline("b", "a")])


def test_as_many_stages_as_are_allowed_are_accepted_and_one_more_is_not() -> None:
    check_pipeline(pipeline("p", *["cat"] * MAX_STAGES), [])
    with pytest.raises(InvalidInput, match="has 51 stages, at most 50"):
        check_pipeline(pipeline("p", *["cat"] * (MAX_STAGES + 1)), [])


def test_stages_of_inner_pipelines_count() -> None:
    inner = pipeline("q", *["cat"] * 25)
    check_pipeline(pipeline("p", "q", "q"), [inner])
    with pytest.raises(InvalidInput, match=r"p\.openfaas-fn has 51 stages with those of the pipelines in it"):
        check_pipeline(pipeline("p", "q", "q", "cat"), [inner])


def test_a_pipeline_may_not_grow_one_that_contains_it_beyond_what_is_allowed() -> None:
    outer = pipeline("p", "q", "q")
    check_pipeline(pipeline("q", *["cat"] * 25), [outer])
    with pytest.raises(InvalidInput, match=r"p\.openfaas-fn has 52 stages"):
        check_pipeline(pipeline("q", *["cat"] * 26), [outer])


def test_doubling_again_and_again_is_refused_without_being_written_out() -> None:
    doubling = [pipeline(f"p{n}", f"p{n + 1}", f"p{n + 1}") for n in range(1, 9)]
    with pytest.raises(InvalidInput, match="at most 50 are accepted"):
        check_pipeline(pipeline("p9", "cat", "cat"), doubling)


def nested(count: int) -> list[FunctionSpec]:
    return [pipeline(f"p{n}", f"p{n + 1}") for n in range(count)]


def test_nesting_is_limited_from_within_and_from_without() -> None:
    chain = nested(MAX_DEPTH)
    check_pipeline(chain[-1], chain[:-1])
    check_pipeline(chain[0], chain[1:])
    for added in (pipeline(f"p{MAX_DEPTH}", "cat"), pipeline("top", "p0")):
        with pytest.raises(InvalidInput, match="11 pipelines are nested in each other"):
            check_pipeline(added, chain)


def test_a_chain_of_thousands_that_somebody_made_by_hand_exhausts_nothing() -> None:
    with pytest.raises(InvalidInput, match="nested in each other"):
        check_pipeline(pipeline("top", "p0"), nested(20_000))


def test_a_stage_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(InvalidInput, match="does not begin with the name of a function"):
        check_pipeline(pipeline("p", "sort", "wc -l"), [])


def test_a_line_with_pipes_is_split_and_spaces_around_them_mean_nothing() -> None:
    assert split_pipeline(" sort/a?b=c |uniq| wc.dev\n") == ("sort/a?b=c", "uniq", "wc.dev")
    assert split_pipeline("sort") == ("sort",)


@pytest.mark.parametrize(("text", "number"), [("", 1), ("|", 1), ("sort|", 2), ("sort || wc", 2), ("a | b |  ", 3)])
def test_a_stage_that_is_not_there_is_told_by_its_number(text: str, number: int) -> None:
    with pytest.raises(InvalidInput, match=f"stage {number} of .* is empty"):
        split_pipeline(text)
