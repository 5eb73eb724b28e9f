"""Names that an image may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput
from penstock.watchdog.bundle.reference import check_reference


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("watchdog", "watchdog:latest"),
        ("watchdog:1", "watchdog:1"),
        ("a/b-c/d__e.f:V_1.0-x", "a/b-c/d__e.f:V_1.0-x"),
        ("localhost/w:1", "localhost/w:1"),
        ("localhost:5000/w", "localhost:5000/w:latest"),
        ("Registry.Example.ORG:443/team/w:2", "Registry.Example.ORG:443/team/w:2"),
    ],
)
def test_good_names(text: str, meant: str) -> None:
    assert check_reference(text) == meant


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"),
        (":1", "''"),
        ("w:", "the tag ''"),
        ("w:.x", "the tag '.x'"),
        ("w:" + "x" * 129, "1 to 128"),
        ("Watchdog", "'Watchdog' must be lower-case"),
        ("a//b", "'' must be"),
        ("/a", "'' must be"),
        ("a/", "'' must be"),
        ("a/..", "'..' must be"),
        ("../a", "is not a registry's host"),
        ("a/b C", "'b C'"),
        ("a_/b", "'a_'"),
        ("-x.org/b", "'-x.org' is not a registry's host"),
        ("host:port/b", "'host:port' is not"),
        ("w@sha256:" + "0" * 64, "digest"),
        ("0" * 64, "image's id"),
        ("a/" * 127 + "long", "longer than 255"),
        ("w\n", "'w\\\\n'"),
        ("w:1\n", "the tag '1\\\\n'"),
    ],
)
def test_bad_names_say_which_part_is_wrong(text: str, named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        check_reference(text)


@given(st.text(alphabet="aA0_.-:/@", max_size=20))
def test_what_is_accepted_is_accepted_again(text: str) -> None:
    try:
        meant = check_reference(text)
    except InvalidInput:
        return
    assert check_reference(meant) == meant
