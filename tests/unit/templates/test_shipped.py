"""What all shipped templates have in common, and what their copies of other files must remain."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from penstock.examples import examples_directory
from penstock.templates.catalogue import SHIPPED, shipped
from penstock.templates.model import Template

NAMES = ["bash", "cli", "dockerfile", "go", "java", "node", "php", "python3", "python3-http", "ruby", "static"]

TEMPLATES = {template.name: template for template in shipped()}


def dockerfile(template: Template) -> str:
    file = template.dockerfile if template.name != "dockerfile" else template.starter / "Dockerfile"
    return file.read_text()


def test_these_are_shipped() -> None:
    assert list(TEMPLATES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_image_has_the_watchdog_and_no_root(name: str) -> None:
    text = dockerfile(TEMPLATES[name])
    assert text.startswith("ARG WATCHDOG=penstock-watchdog:latest\n")
    assert "\nFROM ${WATCHDOG} AS watchdog\n" in text
    last = text[text.rindex("\nFROM ") :]
    assert "\nCOPY --from=watchdog /penstock /penstock\n" in last
    assert "\nUSER 1000:1000\n" in last
    assert last.endswith('CMD ["/penstock/fwatchdog", "--run-healthcheck"]\nENTRYPOINT ["/penstock/fwatchdog"]\n')
    assert name == "dockerfile" or last.startswith("\nFROM ${BASE}\n")


@pytest.mark.parametrize("name", ["bash", "cli", "static"])
def test_what_needs_no_compiler_needs_no_engine_either(name: str) -> None:
    assert not re.search(r"^RUN ", dockerfile(TEMPLATES[name]), re.MULTILINE)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("cli", "dockerfile")])
def test_a_function_runs_alike_with_and_without_a_container(name: str) -> None:
    native = TEMPLATES[name].native
    assert native is not None
    text = dockerfile(TEMPLATES[name]).replace("/home/app/site", "{site}").replace("/home/app/function", "{function}")
    text = text.replace("/home/app", "{build}")
    for key, value in native.environment.items():
        assert re.search(rf'\b{key}="?{re.escape(value)}"?( |$)', text, re.MULTILINE), key
    assert native.fprocess in text


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("cli", "dockerfile", "static")])
def test_what_a_function_begins_with_has_what_its_template_needs(name: str) -> None:
    template = TEMPLATES[name]
    assert template.needs
    assert all(list(template.starter.glob(pattern)) for pattern in template.needs)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_function_begins_with_is_short(name: str) -> None:
    template = TEMPLATES[name]
    assert template.needs_source == (name != "cli")
    for file in template.starter.rglob("*"):
        assert file.is_file()
        assert len(file.read_text().splitlines()) <= 32, file


def test_sources_are_of_the_language_that_runs_them() -> None:
    for file in SHIPPED.rglob("*.py"):
        ast.parse(file.read_text(), feature_version=(3, 11))


def test_nothing_is_hidden_or_linked() -> None:
    names = {path.name for path in SHIPPED.rglob(".*")}
    assert names == {".dockerignore"}
    assert not [path for path in SHIPPED.rglob("*") if path.is_symlink()]


def test_copies_are_equal() -> None:
    def same(one: Path, other: Path) -> bool:
        return one.read_bytes() == other.read_bytes()

    assert same(SHIPPED / "java/Afterburn.java", examples_directory() / "afterburn/java/Afterburn.java")
    for file in ("Dockerfile", ".dockerignore", "function/requirements.txt"):
        assert same(SHIPPED / "python3" / file, SHIPPED / "python3-http" / file)
