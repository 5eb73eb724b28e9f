"""`--filter` and `--regex`."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import InvalidInput, NotFound
from penstock.stack.load import read_stack
from penstock.stack.select import select

STACK = read_stack("functions: {api-a: {image: x}, api-b: {image: x}, web: {image: x}}", "s.yml", None, Path())


@pytest.mark.parametrize(
    ("filter", "regex", "names"),
    [
        ("", "", ["api-a", "api-b", "web"]),
        ("api-*", "", ["api-a", "api-b"]),
        ("*", "", ["api-a", "api-b", "web"]),
        ("*-*b", "", ["api-b"]),
        ("web", "", ["web"]),
        ("", "^w|b$", ["api-b", "web"]),
        ("", "pi", ["api-a", "api-b"]),
    ],
)
def test_functions_keep_their_order(filter: str, regex: str, names: list[str]) -> None:
    assert [function.name for function in select(STACK, filter, regex).functions] == names


def test_a_filter_is_no_regular_expression_and_no_part_of_a_name() -> None:
    for word in ("api", "api.a", "a[p]i-a", "ap?-a"):
        with pytest.raises(NotFound, match=r"it has api-a, api-b, web"):
            select(STACK, word)


def test_both_at_once_a_broken_expression_and_an_empty_file() -> None:
    with pytest.raises(InvalidInput, match="exclude each other"):
        select(STACK, "a", "b")
    with pytest.raises(InvalidInput, match="not a regular expression"):
        select(STACK, regex="(")
    with pytest.raises(NotFound, match=r"s\.yml has no functions"):
        select(read_stack("version: 1.0", "s.yml", None, Path()))


def test_pipelines_are_chosen_like_functions() -> None:
    text = "functions: {api-a: {image: x}, web: {image: x}}\npipelines: {api-p: {stages: a}, flow: {stages: b}}"
    stack = read_stack(text, "s.yml", None, Path())

    def names(filter: str = "", regex: str = "") -> tuple[list[str], list[str]]:
        chosen = select(stack, filter, regex)
        return [one.name for one in chosen.functions], [one.name for one in chosen.pipelines]

    assert names() == (["api-a", "web"], ["api-p", "flow"])
    assert names("api-*") == (["api-a"], ["api-p"])
    assert names("flow") == ([], ["flow"])
    assert names(regex="w") == (["web"], ["flow"])
    with pytest.raises(NotFound, match="it has api-a, web, api-p, flow"):
        select(stack, "none")
