"""The examples' stack file and how they are deployed, on a provider that only writes down what it is told."""

from __future__ import annotations

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from penstock.errors import FunctionNotFound, InvalidInput
from penstock.examples import deploy_examples, examples_directory, find_program, load_examples, with_program
from penstock.model import Function, FunctionSpec
from penstock.providers.base import Provider

NAMES = [
    "thumbnail",
    "video-frame",
    "ocr",
    "wc",
    "jq",
    "figlet",
    "http-app",
    "static-site",
    "sse-clock",
    "ws-echo",
    "java-feed",
    "node-csv",
    "python-search",
    "python-stats",
    "asgi-digest",
]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a program takes here to say its version."""
    monkeypatch.setattr("penstock.examples.VERSION_TIMEOUT", 60.0)


class NotedProvider:
    """Remembers specifications and the verbs that brought them."""

    def __init__(self) -> None:
        self.specs: dict[str, FunctionSpec] = {}
        self.calls: list[str] = []

    async def get(self, name: str, namespace: str, usage: bool = False) -> Function:
        if name not in self.specs:
            raise FunctionNotFound(f"no function {name} in {namespace}")
        return Function(spec=self.specs[name], desired=1, created_at=datetime.now(UTC))

    async def deploy(self, spec: FunctionSpec) -> None:
        self.calls.append(f"deploy {spec.name}")
        self.specs[spec.name] = spec

    async def update(self, spec: FunctionSpec) -> None:
        self.calls.append(f"update {spec.name}")
        self.specs[spec.name] = spec


@pytest.fixture
def provider() -> NotedProvider:
    return NotedProvider()


def program(directory: Path, name: str, says: str = "") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def stack(directory: Path, functions: str) -> Path:
    (directory / "stack.yml").write_text(f"version: 1.0\nprovider:\n  name: openfaas\nfunctions:\n{functions}")
    return directory


def by_name(specs: list[FunctionSpec]) -> dict[str, FunctionSpec]:
    return {spec.name: spec for spec in specs}


def test_every_example_of_the_stack_file_is_loaded_in_its_order() -> None:
    assert [spec.name for spec in load_examples()] == NAMES


def test_placeholders_become_the_directory_and_the_interpreter() -> None:
    examples = by_name(load_examples())
    directory = examples_directory()
    assert examples["http-app"].env_process == f"{sys.executable} {directory}/http-app/app.py"
    assert examples["static-site"].env_vars["static_path"] == f"{directory}/static-site"
    assert not [spec.name for spec in examples.values() if "${" in str(spec)]


def test_every_file_that_an_example_names_exists() -> None:
    for spec in load_examples():
        for word in [*spec.env_process.split(" "), spec.env_vars.get("static_path", "")]:
            assert not word.startswith("/") or Path(word).exists(), f"{spec.name}: {word}"


def test_scalars_stay_the_text_that_was_written(tmp_path: Path) -> None:
    stack(
        tmp_path,
        "  f:\n    fprocess: cat\n    environment: {a: on, b: 0755, c: 1.50, d: true, e: , f: ~}\n    labels: {n: 1}\n",
    )
    (spec,) = load_examples(tmp_path)
    assert spec.env_vars == {"a": "on", "b": "0755", "c": "1.50", "d": "true", "e": "", "f": ""}
    assert spec.labels == {"n": "1"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "functions: 3",
        "version: 1.0\nfunctions: {f: {fprocess: [a]}}",
        "{",
        "!!python/object/apply:os.system [echo]",
        "\x00",
    ],
)
def test_a_stack_file_that_is_not_one_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.yml").write_text(text)
    with pytest.raises(InvalidInput, match=r"stack\.yml"):
        load_examples(tmp_path)


def test_a_missing_stack_file_is_refused_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"stack\.yml"):
        load_examples(tmp_path)


def test_an_example_whose_line_would_hold_a_space_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spaced = tmp_path / "with space"
    spaced.mkdir()
    stack(
        spaced,
        "  a:\n    fprocess: x ${PENSTOCK_EXAMPLES}/a\n  b:\n    environment: {static_path: '${PENSTOCK_EXAMPLES}'}\n",
    )
    assert [spec.name for spec in load_examples(spaced)] == ["b"]
    assert "a is left out" in caplog.text


def test_a_program_is_found_where_path_names_it(tmp_path: Path) -> None:
    tool = program(tmp_path / "bin", "tool")
    assert find_program("tool", f"{tmp_path}/none:{tmp_path}/bin") == str(tool)
    assert find_program("tool", str(tmp_path)) == ""
    assert find_program("tool", "") == ""


def test_only_the_convert_that_names_imagemagick_is_taken(tmp_path: Path) -> None:
    program(tmp_path / "other", "convert", says="convert 1.0, units of measure")
    right = program(tmp_path / "right", "convert", says="Version: ImageMagick 6.9")
    assert find_program("convert", f"{tmp_path}/other:{tmp_path}/right") == str(right)
    assert find_program("convert", f"{tmp_path}/other") == ""


def test_a_convert_that_cannot_be_started_is_passed_over(tmp_path: Path) -> None:
    broken = program(tmp_path / "broken", "convert")
    broken.write_text("#!/does/not/exist\n")
    assert find_program("convert", f"{tmp_path}/broken") == ""


def test_a_program_behind_another_of_its_name_is_named_absolutely(tmp_path: Path) -> None:
    program(tmp_path / "other", "convert", says="another program")
    right = program(tmp_path / "right", "convert", says="ImageMagick")
    spec = FunctionSpec(name="f", env_process="convert - -")
    found = with_program(spec, f"{tmp_path}/other:{tmp_path}/right")
    assert isinstance(found, FunctionSpec) and found.env_process == f"{right} - -"
    assert with_program(spec, f"{tmp_path}/right:{tmp_path}/other") == spec


def test_an_example_that_calls_its_program_by_a_script_needs_both(tmp_path: Path) -> None:
    annotations = {"com.penstock.debian.package": "compiler", "com.penstock.debian.program": "compile"}
    spec = FunctionSpec(name="f", env_process="sh run.sh", annotations=annotations)
    program(tmp_path, "sh")
    assert with_program(spec, str(tmp_path)) == "compile is not installed (apt-get install compiler)"
    program(tmp_path, "compile")
    assert with_program(spec, str(tmp_path)) == spec


async def test_examples_without_their_program_are_left_out_naming_the_package(
    provider: NotedProvider, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    program(tmp_path, "wc")
    with caplog.at_level(logging.WARNING, "penstock.examples"):
        names = await deploy_examples(cast(Provider, provider), str(tmp_path))
    assert names == [
        "wc",
        "http-app",
        "static-site",
        "sse-clock",
        "ws-echo",
        "python-search",
        "python-stats",
        "asgi-digest",
    ]
    assert "apt-get install tesseract-ocr" in caplog.text


async def test_deploying_again_changes_nothing(provider: NotedProvider, tmp_path: Path) -> None:
    program(tmp_path, "wc")
    first = await deploy_examples(cast(Provider, provider), str(tmp_path))
    provider.calls.clear()
    assert await deploy_examples(cast(Provider, provider), str(tmp_path)) == first
    assert provider.calls == []


async def test_an_example_that_differs_is_updated(provider: NotedProvider, tmp_path: Path) -> None:
    program(tmp_path, "wc")
    await deploy_examples(cast(Provider, provider), str(tmp_path))
    provider.specs["wc"] = FunctionSpec(name="wc", env_process="wc -l")
    provider.calls.clear()
    await deploy_examples(cast(Provider, provider), str(tmp_path))
    assert provider.calls == ["update wc"]


async def test_the_path_of_the_process_is_searched_by_default(
    provider: NotedProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "figlet")
    monkeypatch.setitem(cast(Any, os.environ), "PATH", str(tmp_path))
    names = await deploy_examples(cast(Provider, provider))
    assert "figlet" in names and "wc" not in names
