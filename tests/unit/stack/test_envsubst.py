"""`${…}` in text: the forms as the original has them, what is never changed, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.stack import envsubst
from penstock.stack.envsubst import MAX_DEPTH, expand, substitute

VARIABLES = {"V": "value", "W": "other", "EMPTY": "", "PATHS": "/home/a/notes.tar.gz", "LATIN": "aéz", "ß": "straße"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${V}", "value"),
        ("${UNSET}", ""),
        ("$V", "$V"),
        ("a $ b", "a $ b"),
        ("$", "$"),
        ("$$", "$"),
        ("$$$", "$$"),
        ("$${V}", "${V}"),
        ("$$${V}", "$value"),
        ("${UNSET:-d}${UNSET=d}${UNSET:=d}", "ddd"),
        ("${EMPTY:-d}${EMPTY=d}${EMPTY:=d}", "ddd"),
        ("${V:-d}${V=d}${V:=d}", "valuevaluevalue"),
        ("${UNSET:?m}${UNSET:+alt}", "malt"),
        ("${V:?m}${V:+alt}", "valuevalue"),
        ("${UNSET:-}", ""),
        ("${UNSET:-${W}}", "other"),
        ("${UNSET:-a${W}b${UNSET:-c}}", "aotherbc"),
        ("${UNSET:-$$}", "$$"),
        ("${UNSET:-a{b}c}", "a{bc}"),
        ("${UNSET:-http://gateway:8080/x}", "http://gateway:8080/x"),
        ("${V^}${V^^}", "ValueVALUE"),
        ("${UNSET:-${W^^}}", "OTHER"),
        ("${V,}${V,,}", "valuevalue"),
        ("${ß^^}", "STRAßE"),
        ("${#V}", "5"),
        ("${#LATIN}", "4"),
        ("${#UNSET}", "0"),
        ("${V:1}", "alue"),
        ("${V:1:2}", "al"),
        ("${V:-1}", "value"),
        ("${V:9}|${V:9:1}|${V:0:99}", "||value"),
        ("${V:x}", "value"),
        ("${V/a/b}", "vblue"),
        ("${PATHS//a/b}", "/home/b/notes.tbr.gz"),
        ("${V/#v/b}${V/#x/b}", "baluevalue"),
        ("${V/%e/b}${V/%x/b}", "valubvalue"),
        ("${V/a/}", "vlue"),
        (r"${PATHS/\//-}", "-home/a/notes.tar.gz"),
        (r"${PATHS//\//-}", "-home-a-notes.tar.gz"),
        ("${V/a/${W}}", "votherlue"),
        ("${PATHS#*/}", "home/a/notes.tar.gz"),
        ("${PATHS##*/}", "notes.tar.gz"),
        ("${PATHS%.*}", "/home/a/notes.tar"),
        ("${PATHS%%.*}", "/home/a/notes"),
        ("${V#x}${V%x}", "valuevalue"),
        ("${V#[a-v]a}", "lue"),
        ("${V##[^x]}", "alue"),
        ("${V#?}", "alue"),
        ("${V#[}", "value"),
        (r"\\ \/ \a \n", r"\ / \a \n"),
        ("", ""),
    ],
)
def test_forms(text: str, expected: str) -> None:
    assert substitute(text, VARIABLES) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("${V-d}", "missing closing brace"),
        ("${A.B}", "missing closing brace"),
        ("${V", "missing closing brace"),
        ("${V:-d", "missing closing brace"),
        ("${V:-${W}", "missing closing brace"),
        ("${}", "a name must follow"),
        ("${ V}", "a name must follow"),
        ("${V:}", "something is missing"),
        ("${V#}", "something is missing"),
        ("${V/a}", "${NAME/old/new}"),
        ("${V:0:-1}", "negative"),
    ],
)
def test_errors_say_file_line_and_what_was_seen(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        substitute(f"one: 1\ntwo: {text}\n", VARIABLES, "stack.yml")
    assert str(caught.value).startswith("stack.yml:2: '${") and words in str(caught.value)


def test_deep_nesting_is_refused_with_a_message() -> None:
    def nested(levels: int) -> str:
        return "${U:-" * levels + "x" + "}" * levels

    assert substitute(nested(MAX_DEPTH), {}) == "x"
    with pytest.raises(InvalidInput, match=f"more than {MAX_DEPTH} levels"):
        substitute(nested(100_000), {})


def test_growth_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(envsubst, "MAX_TEXT", 1 << 20)
    with pytest.raises(InvalidInput, match="longer than 1 MB"):
        substitute("${A}" * 2000, {"A": "a" * 1000})
    with pytest.raises(InvalidInput, match="longer than 1 MB"):
        substitute("${A//a/" + "b" * 2000 + "}", {"A": "a" * 1000})


def test_a_pattern_of_many_stars_takes_no_exponential_time() -> None:
    assert substitute("${A#" + "*a" * 60 + "b}", {"A": "a" * 2000}) == "a" * 2000


def test_lines_are_those_that_were_written() -> None:
    expanded = expand("a: ${KEY}\nb: ${U:-x\ny}\nc: 1\n", {"KEY": "1\n2\n3"})
    assert expanded.text == "a: 1\n2\n3\nb: x\ny\nc: 1\n"
    assert [expanded.written(line) for line in (1, 4, 6)] == [1, 2, 4]
    shorter = expand("a: ${V:-x\ny\nz}\nb: 1\n", {"V": "v"})
    assert shorter.written(2) == 4


def test_nothing_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for text in (f"$(touch {mark})", f"`touch {mark}`", f"${{U:-$(touch {mark})}}", f"${{U:-`touch {mark}`}}"):
        assert str(mark) in substitute(text, os.environ)
    assert not mark.exists()


@given(st.text().filter(lambda text: "$" not in text and "\\" not in text))
def test_text_without_dollar_and_backslash_is_unchanged(text: str) -> None:
    assert substitute(text, VARIABLES) == text


@given(st.text().filter(lambda text: not {"$", "\\"} & set(text)), st.text())
def test_a_value_is_put_in_as_it_is(around: str, value: str) -> None:
    assert substitute(f"{around}${{NAME}}{around}", {"NAME": value}) == f"{around}{value}{around}"


@given(st.text(alphabet="$\\/{}:-=#%^,?*[]ab\n0"))
def test_any_text_is_answered_or_refused(text: str) -> None:
    try:
        result = substitute(text, {"a": "ab", "b": "/a"})
    except InvalidInput:
        return
    assert isinstance(result, str)


@given(st.text(alphabet="ab/.", max_size=12), st.text(alphabet="ab/.*?", min_size=1, max_size=6))
def test_trimming_takes_the_shortest_and_the_longest(value: str, pattern: str) -> None:
    import re

    rule = re.compile("".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern))
    fitting = [end for end in range(1, len(value) + 1) if rule.fullmatch(value[:end])]
    # A pattern that begins with `/` or `#` would be read as another operator.
    shortest = value[fitting[0] :] if fitting else value
    longest = value[fitting[-1] :] if fitting else value
    assert substitute(f"${{N#{pattern}}}", {"N": value}) == shortest
    assert substitute(f"${{N##{pattern}}}", {"N": value}) == longest
