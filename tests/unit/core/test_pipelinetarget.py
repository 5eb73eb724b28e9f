"""What the text of a stage means."""

from __future__ import annotations

import pytest

from penstock.core.pipelinetarget import MAX_STAGE_TEXT, StageTarget, read_stage
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
