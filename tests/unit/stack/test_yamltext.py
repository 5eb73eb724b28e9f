"""Texts stay texts for every reader."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.stack.yamltext import dump, scalar

LOADED = ("on", "No", "y", "1e3", "0o17", "010", "1_000", "null", "~", "", ".inf", "2020-01-01", "a: b", "=", "- x")


@pytest.mark.parametrize("text", LOADED)
def test_what_a_reader_might_take_for_something_else_is_quoted(text: str) -> None:
    assert scalar(text).startswith('"')


@pytest.mark.parametrize("text", ["cat", "python3-http", "reg:5000/a:latest", "v1.2"])
def test_words_are_plain(text: str) -> None:
    assert scalar(text) == text


@given(st.dictionaries(st.text(max_size=8), st.text() | st.lists(st.text(), max_size=3), max_size=4))
def test_it_is_read_back_as_it_was(document: dict[str, object]) -> None:
    assert yaml.safe_load(dump(document)) == document


def test_long_texts_are_on_one_line_and_nothing_is_an_alias() -> None:
    shared = {"a": "x " * 200}
    written = dump({"one": shared, "two": shared})
    assert "&" not in written and "*" not in written and len(written.splitlines()) == 4
