"""Words of an instruction."""

from __future__ import annotations

import pytest

from penstock.builders.imagewriter.words import LONGEST, expand, split
from penstock.errors import InvalidInput

KNOWN = {"A": "one", "EMPTY": "", "LONG": "x" * 1000}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b\tc", ["a", "b", "c"]),
        ("a='b c' d", ["a='b c'", "d"]),
        ('a="b \\" c" d', ['a="b \\" c"', "d"]),
        ("a\\ b c", ["a\\ b", "c"]),
        ("", []),
    ],
)
def test_split(text: str, words: list[str]) -> None:
    assert split(text, "\\") == words


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("$A", "one"),
        ("${A}x", "onex"),
        ("$A_x", ""),
        ("${NONE}", ""),
        ("${NONE:-$A}", "one"),
        ("${EMPTY:-${NONE:-deep}}", "deep"),
        ("${A:+other}", "other"),
        ("${NONE:+other}", ""),
        ("'$A'", "$A"),
        ('"$A b"', "one b"),
        ("\\$A", "$A"),
        ('"\\$A"', "$A"),
        ('"a\\b"', "a\\b"),
        ("a\\b", "ab"),
        ("'a\\b'", "a\\b"),
        ("100$", "100$"),
    ],
)
def test_expand(word: str, value: str) -> None:
    assert expand(word, KNOWN, "\\", InvalidInput) == value


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("${A", "not closed"),
        ("'a", "quote ' is not closed"),
        ("${}", "names no variable"),
        ("${A-x}", "are understood"),
        ("${A#x}", "are understood"),
        ("${N:-" * 20 + "}" * 20, "nested deeper"),
        ("$LONG" * (LONGEST // 1000 + 1), "longer than"),
    ],
    ids=["brace", "quote", "nameless", "dash", "hash", "deep", "long"],
)
def test_what_cannot_be_expanded(word: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        expand(word, KNOWN, "\\", InvalidInput)
