from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.names import check_env_name, check_function_name, check_namespace, check_secret_name, split_key
from penstock.errors import InvalidInput

CHECKS: list[Callable[[str], str]] = [check_function_name, check_namespace, check_secret_name]

HOSTILE = [
    "", " ", ".", "..", "../x", "a/b", "/", "a\\b", "a..b", "%2f", "a%2e", "-a", "a-", "A", "aB", "a_b", "a b", "a\n", "\na", "a\0",
    "a\t", "é", "\u0430", "a\u0300",
    "\uff11", "٣", "²", "ﬁ", "\u0131", "a\u200b", "\ud800", "a;b", "$(x)", "`x`", "a|b", "a*", "~", "a:b", "a@b", "a,b",
    ".a", "a.", "a" * 254,
]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused(check: Callable[[str], str], name: str) -> None:
    with pytest.raises(InvalidInput):
        check(name)


@pytest.mark.parametrize("check", CHECKS[:2])
def test_a_label_has_at_most_63_characters_and_no_dot(check: Callable[[str], str]) -> None:
    assert check("a" * 63) == "a" * 63
    assert check("0") == "0"
    assert check("a-0-b") == "a-0-b"
    for name in ("a" * 64, "a.b"):
        with pytest.raises(InvalidInput):
            check(name)


def test_a_secret_may_have_dots_and_253_characters() -> None:
    assert check_secret_name("api.key-1") == "api.key-1"
    assert check_secret_name("a" * 253) == "a" * 253


@given(st.text(max_size=70))
def test_what_is_accepted_is_a_dns_label_and_nothing_else(name: str) -> None:
    try:
        accepted = check_function_name(name)
    except InvalidInput:
        return
    assert accepted == name
    assert re.fullmatch("[a-z0-9-]{1,63}", name)
    assert not name.startswith("-") and not name.endswith("-")


@given(st.text(alphabet="ab0.-", max_size=20))
def test_an_accepted_secret_never_climbs_out_of_a_directory(name: str) -> None:
    try:
        check_secret_name(name)
    except InvalidInput:
        return
    assert ".." not in name and "/" not in name and name[0] != "." and name[-1] != "."


@pytest.mark.parametrize("name", ["", "A=B", "A\0", "="])
def test_what_cannot_name_an_environment_variable_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        check_env_name(name)


@pytest.mark.parametrize("name", ["PATH", "http_proxy", "weird name", "é", "a.b-c"])
def test_environment_variables_may_be_named_freely_otherwise(name: str) -> None:
    assert check_env_name(name) == name


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("f", ("f", "default")),
        ("f.ns", ("f", "ns")),
        ("a.b.c", ("a.b", "c")),
        ("f.", ("f", "")),
        (".ns", ("", "ns")),
        ("", ("", "default")),
    ],
)
def test_a_key_is_split_at_its_last_dot(key: str, expected: tuple[str, str]) -> None:
    assert split_key(key, "default") == expected
