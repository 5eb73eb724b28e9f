"""Finding a function of a store, and for which platforms it can be had."""

from __future__ import annotations

import pytest

from penstock.functionstore.model import FunctionStore, StoreFunction

STORE = FunctionStore(
    functions=(
        StoreFunction(name="one", title="two", images={"x86_64": "a:1", "armhf": "b:1"}),
        StoreFunction(name="two", title="One"),
    )
)


def test_a_name_is_found_before_a_title() -> None:
    found = STORE.find("two")
    assert found is not None and found.name == "two"


def test_a_title_is_found() -> None:
    found = STORE.find("One")
    assert found is not None and found.name == "two"


def test_what_is_not_there_is_none() -> None:
    assert STORE.find("three") is None


@pytest.mark.parametrize(("platform", "can"), [("x86_64", True), ("X86_64", True), ("arm64", False), ("", False)])
def test_images_decide_about_platforms(platform: str, can: bool) -> None:
    assert STORE.functions[0].runs_on(platform) is can


def test_without_images_it_runs_everywhere() -> None:
    assert STORE.functions[1].runs_on("riscv64")
