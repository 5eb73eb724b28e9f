"""Tokens of functions: each function has another, each password has others, and nothing else is accepted."""

from __future__ import annotations

import re

import pytest

from penstock.core.tokens import accepts, bearer_token, derive_key, events_token, function_token

KEY = derive_key("a password")


def test_a_token_is_the_same_wherever_the_password_is_known() -> None:
    assert function_token(KEY, "cat.openfaas-fn") == function_token(derive_key("a password"), "cat.openfaas-fn")


def test_a_token_fits_into_a_header() -> None:
    assert re.fullmatch(r"[-_A-Za-z0-9]{43}", function_token(KEY, "cat.openfaas-fn"))


def test_a_token_is_accepted_for_its_own_function_alone() -> None:
    token = function_token(KEY, "cat.openfaas-fn")
    assert accepts(KEY, "cat.openfaas-fn", token)
    assert not accepts(KEY, "cat.blue", token)
    assert not accepts(KEY, "tac.openfaas-fn", token)


def test_another_password_ends_all_tokens() -> None:
    assert not accepts(derive_key("another"), "cat.openfaas-fn", function_token(KEY, "cat.openfaas-fn"))


@pytest.mark.parametrize("token", ["", "x", "\N{SNOWMAN}", "x" * 100_000])
def test_what_is_no_token_is_not_accepted(token: str) -> None:
    assert not accepts(KEY, "cat.openfaas-fn", token)


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Bearer", ""),
        ("Basic abc", None),
        ("", None),
        ("Bearerabc", None),
    ],
)
def test_a_bearer_token_is_found_in_its_header(authorization: str, token: str | None) -> None:
    assert bearer_token(authorization) == token


def test_the_token_of_stores_is_that_of_no_function() -> None:
    assert re.fullmatch(r"[-_A-Za-z0-9]{43}", events_token(KEY))
    assert events_token(KEY) == events_token(derive_key("a password")) != events_token(derive_key("another"))
    for name in ("storage events", "events", "s.torage events"):
        assert not accepts(KEY, name, events_token(KEY))
