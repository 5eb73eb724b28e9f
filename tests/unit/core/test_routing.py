from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.routing import function_target, in_function_branch


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/function/sort", (b"sort", b"/")),
        (b"/function/sort/", (b"sort", b"/")),
        (b"/function/sort?a=b", (b"sort", b"/?a=b")),
        (b"/function/sort?", (b"sort", b"/?")),
        (b"/function/sort.ns/a/b?c=/d?e", (b"sort.ns", b"/a/b?c=/d?e")),
        (b"/function/sort/a%2Fb/%2e%2e/", (b"sort", b"/a%2Fb/%2e%2e/")),
        (b"/function/sort//x", (b"sort", b"//x")),
        (b"/function/sort/../other", (b"sort", b"/../other")),
        (b"/function/sort/./", (b"sort", b"/./")),
        (b"/function/sort?/function/other", (b"sort", b"/?/function/other")),
        (b"/function/a_B-9.x", (b"a_B-9.x", b"/")),
    ],
)
def test_a_function_and_what_it_sees_are_taken_as_sent(target: bytes, expected: tuple[bytes, bytes]) -> None:
    assert function_target(target) == expected


@pytest.mark.parametrize(
    "target",
    [
        b"", b"/", b"*", b"/function", b"/function/", b"/function//x", b"/function/?x", b"/functions/a", b"/Function/a",
        b"//function/a", b"/x/function/a", b"/function/a%2fb", b"/function/%61", b"/function/a|b", b"/function/a b", b"/function/a;b",
        b"/function/a:b", b"/function/a\n", b"/function/\xc3\xa9", b"/function/a\0", b"function/a", b"/function/../system/functions",
        b"http://h/function/a", b"/function/a#b", b"/function\\a", b"/%66unction/a", b"/system/functions", b"/function/$(x)",
    ],
)  # fmt: skip
def test_what_names_no_function_is_none(target: bytes) -> None:
    found = function_target(target)
    assert found is None or found[0] == b".."  # dots are name characters: such a name is simply not deployed


@given(st.binary(max_size=40))
def test_name_and_path_together_are_the_target(tail: bytes) -> None:
    target = b"/function/" + tail
    found = function_target(target)
    if found is None:
        return
    name, seen = found
    assert re.fullmatch(rb"[-a-zA-Z_0-9.]+", name)
    assert seen.startswith(b"/")
    rest = target[len(b"/function/") + len(name) :]
    assert seen == rest or seen == b"/" + rest


def test_the_function_branch_is_known_by_its_beginning() -> None:
    assert in_function_branch(b"/function/%2f")
    assert in_function_branch(b"/function/")
    assert not in_function_branch(b"/function")
    assert not in_function_branch(b"/system/function/")
