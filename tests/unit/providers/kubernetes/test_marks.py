"""Labels by which objects are known."""

from __future__ import annotations

import pytest

from penstock.providers.kubernetes.marks import OBJECT_NAME, is_ours, owner


def test_what_we_mark_is_ours_and_nobody_elses() -> None:
    document = {"metadata": {"labels": owner("lab")}}
    assert is_ours(document, "lab")
    assert not is_ours(document, "lab2")
    assert not is_ours({}, "lab")


@pytest.mark.parametrize("name", ["a", "a-b.c", "0", "x" * 253])
def test_names_of_objects(name: str) -> None:
    assert OBJECT_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "a_b", "é", "x" * 254, "a\n"])
def test_what_cannot_name_an_object(name: str) -> None:
    assert not OBJECT_NAME.fullmatch(name)
