"""New functions in new and old files."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import AlreadyExists, InvalidInput
from penstock.model import Resources
from penstock.stack.load import read_stack
from penstock.stack.write import NewFunction, appended, new_file

NEW = NewFunction(name="new", lang="python3-http", handler="./new", image="acme/new:latest")


def names(text: str) -> list[str]:
    return [function.name for function in read_stack(text, "s.yml", None, Path()).functions]


def test_a_new_file() -> None:
    function = NewFunction(
        name="a",
        lang="go",
        handler="./a",
        image="a:latest",
        limits=Resources(memory="128Mi", cpu="1"),
        requests=Resources(cpu="1"),
    )
    text = new_file(function, "http://127.0.0.1:8080")
    assert text == (
        "version: 1.0\nprovider:\n  name: openfaas\n  gateway: http://127.0.0.1:8080\nfunctions:\n  a:\n    lang: go\n"
        '    handler: "./a"\n    image: a:latest\n    requests:\n      cpu: "1"\n    limits:\n      memory: "128Mi"\n      cpu: "1"\n'
    )
    assert names(text) == ["a"]


ENTRY = 'new:\n    lang: python3-http\n    handler: "./new"\n    image: acme/new:latest\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("functions:\n  a: {image: x}\n", ""),
        ("functions:\n  a:\n    image: x   # why\n\n# the end\n", "\n# the end\n"),
        ("functions:\n  a:\n    image: x\n\nconfiguration:\n  copy: [y]\n", "\nconfiguration:\n  copy: [y]\n"),
        (
            "functions:\n  a:\n    environment:\n      T: |\n        one\n        two\n\nversion: 1.0\n",
            "\nversion: 1.0\n",
        ),
        ("functions:\n  a:\n    secrets: [x,\n      y]\n", ""),
        ("functions:\n  a:\n    image: ${P:-x}/a\n", ""),
        ("functions:\nversion: 1.0\n", "version: 1.0\n"),
    ],
    ids=range(7),
)
def test_the_rest_of_a_file_stays_as_it_is(before: str, after: str) -> None:
    grown = appended(before, NEW, "s.yml")
    kept = before.removesuffix(after)
    assert grown.startswith(kept) and grown.endswith(after)
    assert grown.removeprefix(kept).removesuffix(after) == f"  {ENTRY}"
    assert names(grown)[-1] == "new"


def test_indentation_is_the_files_own() -> None:
    grown = appended("functions:\n    a:\n        image: x\n", NEW, "s.yml")
    assert grown.endswith(
        '    new:\n        lang: python3-http\n        handler: "./new"\n        image: acme/new:latest\n'
    )


def test_a_file_without_functions_and_one_without_a_last_line_end() -> None:
    assert names(appended("version: 1.0\n", NEW, "s.yml")) == ["new"]
    assert names(appended("functions:\n  a: {image: x}", NEW, "s.yml")) == ["a", "new"]


def test_what_cannot_be_added_to() -> None:
    with pytest.raises(AlreadyExists, match=r"s\.yml:2: there is a function 'new' already"):
        appended("functions:\n  new: {image: x}\n", NEW, "s.yml")
    with pytest.raises(InvalidInput, match=r"s\.yml:1: `functions` in braces"):
        appended("functions: {a: {image: x}}\n", NEW, "s.yml")
    with pytest.raises(InvalidInput, match=r"s\.yml:2: not YAML"):
        appended("functions: [\n", NEW, "s.yml")
