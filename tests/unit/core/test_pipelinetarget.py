"""What the text of a stage means, and which stages a request target names."""

from __future__ import annotations

import pytest

from penstock.core.pipelinetarget import MAX_STAGE_TEXT, MAX_STAGES, StageTarget, pipeline_target, read_stage
from penstock.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "stage"),
    [
        ("sort", StageTarget(b"sort", b"/")),
        ("sort.dev", StageTarget(b"sort.dev", b"/")),
        ("sort/", StageTarget(b"sort", b"/")),
        ("sort/a/b%2Fc", StageTarget(b"sort", b"/a/b%2Fc")),
        ("sort?n=1", StageTarget(b"sort", b"/?n=1")),
        ("sort.dev/a.b?n=1/2&m=%7C", StageTarget(b"sort.dev", b"/a.b?n=1/2&m=%7C")),
        ("sort?", StageTarget(b"sort", b"/?")),
    ],
)
def test_a_stage_is_a_name_a_path_and_a_query(text: str, stage: StageTarget) -> None:
    assert read_stage(text) == stage


@pytest.mark.parametrize(
    "text",
    ["", "/a", "?a", ".dev", "sort.", "a.b.c", "Sort", "so rt", "sort\n", "s\u00f6rt", "a" * 64, "..", "a|b", "wc -l"],
)
def test_a_stage_that_does_not_begin_with_a_name_is_refused_and_told_the_form(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"NAME\[\.NAMESPACE\]\[/PATH\]\[\?QUERY\]"):
        read_stage(text)


@pytest.mark.parametrize("rest", ["/a b", "/a\r\nX: y", "?ä", "/\x00", "/\x7f", "/\ud800"])
def test_a_path_or_query_that_would_break_the_request_line_is_refused(rest: str) -> None:
    with pytest.raises(InvalidInput, match="visible ASCII"):
        read_stage(f"sort{rest}")


@pytest.mark.parametrize("rest", ["/a|b", "?a#b"])
def test_pipes_and_fragments_are_refused_in_a_path_or_query(rest: str) -> None:
    with pytest.raises(InvalidInput, match="%7C and %23"):
        read_stage(f"sort{rest}")


def test_a_stage_is_limited_in_length() -> None:
    assert read_stage("s/" + "a" * (MAX_STAGE_TEXT - 2)).name == b"s"
    with pytest.raises(InvalidInput, match="2049 characters, at most 2048"):
        read_stage("s/" + "a" * (MAX_STAGE_TEXT - 1))


@pytest.mark.parametrize(
    ("target", "stages"),
    [
        (b"/function/a|b", [(b"a", b"/"), (b"b", b"/")]),
        (b"/function/a%7Cb%7cc", [(b"a", b"/"), (b"b", b"/"), (b"c", b"/")]),
        (b"/function/a.blue|b.green", [(b"a.blue", b"/"), (b"b.green", b"/")]),
        (b"/function/a|a", [(b"a", b"/"), (b"a", b"/")]),
        (b"/function/a|b/x%2Fy?q=1|2", [(b"a", b"/"), (b"b", b"/x%2Fy?q=1|2")]),
        (b"/function/a|b/x|y", [(b"a", b"/"), (b"b", b"/x|y")]),
        (b"/function/a|b?q", [(b"a", b"/"), (b"b", b"/?q")]),
        (b"/function/a|b/", [(b"a", b"/"), (b"b", b"/")]),
        (b"/function/a%3Fx=1|b%3Fy=2", [(b"a", b"/?x=1"), (b"b", b"/?y=2")]),
        (b"/function/a%2Fp%2fq%3Fx=%2520|b", [(b"a", b"/p/q?x=%20"), (b"b", b"/")]),
        (b"/function/a%3Fx=%257C|b/p", [(b"a", b"/?x=%7C"), (b"b", b"/p")]),
    ],
)
def test_a_request_target_names_stages_with_their_paths_and_queries(
    target: bytes, stages: list[tuple[bytes, bytes]]
) -> None:
    assert pipeline_target(target) == tuple(StageTarget(*stage) for stage in stages)


@pytest.mark.parametrize(
    "target", [b"/function/a", b"/function/a/x|y", b"/function/a?x|y", b"/function/a/%7C", b"/", b"/system/a|b", b"*"]
)
def test_pipes_outside_of_the_names_segment_are_none(target: bytes) -> None:
    assert pipeline_target(target) is None


@pytest.mark.parametrize("names", [b"|", b"a|", b"|a", b"a||b", b"a%7C%7Cb", b"a|b|", b"%7C"])
def test_an_empty_stage_is_refused_with_its_number(names: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"stage [1-3] is empty"):
        pipeline_target(b"/function/" + names)


def test_the_number_of_stages_is_limited() -> None:
    stages = pipeline_target(b"/function/" + b"|".join([b"a"] * MAX_STAGES))
    assert stages is not None
    assert len(stages) == MAX_STAGES
    with pytest.raises(InvalidInput, match="at most 50 stages are accepted, not 51"):
        pipeline_target(b"/function/" + b"|".join([b"a"] * (MAX_STAGES + 1)))


@pytest.mark.parametrize("rest", [b"/x", b"?y", b"/?y"])
def test_a_last_stage_with_two_paths_is_refused(rest: bytes) -> None:
    with pytest.raises(InvalidInput, match="already"):
        pipeline_target(b"/function/a|b%3Fy=2" + rest)


@pytest.mark.parametrize(
    "stage",
    [b"a%", b"a%2", b"a%zz", b"a%00", b"a%0d%0aX:y", b"a%3F%0d%0aX:%20y", b"a%3Fx=%20", b"%C3%A9", b"..", b"a b"],
)
def test_a_stage_that_cannot_be_read_is_refused(stage: bytes) -> None:
    with pytest.raises(InvalidInput):
        pipeline_target(b"/function/" + stage + b"|b")
