"""What the stack file and the flags come to together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.builders.plan import BuildFlags, plan
from penstock.errors import InvalidInput
from penstock.stack.model import Position, StackFunction
from penstock.templates.model import BuildOption, Template

TEMPLATE = Template(
    name="py",
    folder=Path("/t/py"),
    build_options=(BuildOption("dev", ("make", "gcc")), BuildOption("xml", ("libxml2", "make"))),
)


def function(**fields: Any) -> StackFunction:
    return StackFunction(**{"name": "fn", "where": Position("stack.yml", 2), "handler": "fn", "image": "fn", **fields})


def test_flags_win_over_the_file() -> None:
    flags = BuildFlags(build_args=(("A", "1"), ("A", "2")), labels={"l": "v"}, no_cache=True)
    wish = plan(function(build_args={"A": "0", "B": "0"}), TEMPLATE, flags, (), image=True)
    assert wish.build_args == {"A": "2", "B": "0", "ADDITIONAL_PACKAGE": ""}
    assert (wish.image, wish.labels, wish.no_cache) == ("fn:latest", {"l": "v"}, True)


def test_packages_of_all_origins_are_sorted_and_each_is_there_once() -> None:
    flags = BuildFlags(
        build_args=(("ADDITIONAL_PACKAGE", "zip make"), ("ADDITIONAL_PACKAGE", "awk")), build_options=("xml",)
    )
    wish = plan(
        function(build_options=("dev",), build_args={"ADDITIONAL_PACKAGE": "curl"}), TEMPLATE, flags, (), image=True
    )
    assert wish.build_args["ADDITIONAL_PACKAGE"] == "awk curl gcc libxml2 make zip"


@pytest.mark.parametrize(("template", "there"), [(TEMPLATE, "it has dev, xml"), (None, "it has none")])
def test_an_unknown_build_option(template: Template | None, there: str) -> None:
    with pytest.raises(InvalidInput, match=rf"stack\.yml:2: function 'fn': .* has no build option 'big'; {there}"):
        plan(function(build_options=("big",)), template, BuildFlags(), (), image=True)


def test_copied_paths_of_file_and_flags_begin_here() -> None:
    wish = plan(function(), TEMPLATE, BuildFlags(copy=("b", "a")), ("a", "c"), image=False)
    assert wish.copy == tuple(Path.cwd() / name for name in ("a", "c", "b"))


def test_a_native_build_needs_no_image_and_has_none() -> None:
    assert plan(function(image=""), TEMPLATE, BuildFlags(), (), image=False).image == ""
    assert plan(function(), TEMPLATE, BuildFlags(), (), image=False).image == ""
    with pytest.raises(InvalidInput, match="no image is given"):
        plan(function(image=""), TEMPLATE, BuildFlags(), (), image=True)


@pytest.mark.parametrize("name", ["../x", "a/b", "", "A_b"])
def test_a_name_that_could_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        plan(function(name=name), TEMPLATE, BuildFlags(), (), image=False)
