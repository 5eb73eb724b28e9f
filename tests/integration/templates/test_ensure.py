"""Templates that a build needs are pulled, from the place that the stack file or the store names, and no others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from penstock.errors import NotFound
from penstock.stack.model import Position, Stack, StackFunction, TemplateSource
from penstock.templates.catalogue import find_template
from penstock.templates.ensure import ensure_templates, pull_configured
from tests.integration.templates.conftest import ENVIRON, Repository

WHERE = Position("stack.yaml", 1)


def stack(*langs: str, templates: tuple[TemplateSource, ...] = ()) -> Stack:
    functions = tuple(StackFunction(name=f"f{number}", where=WHERE, lang=lang) for number, lang in enumerate(langs))
    return Stack(file="stack.yaml", functions=functions, templates=templates)


@pytest.fixture
def environ(repository: Repository, tmp_path: Path) -> dict[str, str]:
    """With a store that knows the repository."""
    store = tmp_path / "store.json"
    store.write_text(json.dumps([{"template": name, "source": repository.url} for name in ("ada", "node")]))
    return {**ENVIRON, "OPENFAAS_TEMPLATE_STORE_URL": str(store)}


def ensure(stack: Stack, here: Path, environ: dict[str, str], native: bool = False) -> list[str]:
    said: list[str] = []
    ensure_templates(stack, here, said.append, environ, native=native)
    return said


def test_shipped_templates_and_none_at_all_need_nothing(here: Path, environ: dict[str, str]) -> None:
    listed = (TemplateSource("node"),)
    assert ensure(stack("python3-http", "node", "", "Dockerfile", templates=listed), here, environ) == []
    assert os.listdir(here) == []


def test_one_from_the_stacks_own_source(repository: Repository, here: Path, environ: dict[str, str]) -> None:
    repository.template("node", "theirs")
    repository.git("tag", "v1")
    repository.commit()
    listed = (TemplateSource("cobol", f"{repository.url}#main"), TemplateSource("node", repository.url))
    said = ensure(stack("cobol", "cobol", "node", templates=listed), here, environ)
    assert said == [f"cobol: pulling from {repository.url}", f"node: pulling from {repository.url}"]
    assert sorted(os.listdir(here / "template")) == ["cobol", "node"]
    assert ensure(stack("cobol", "node", templates=listed), here, environ) == []
    assert find_template("node", here).fprocess == "theirs"
    assert find_template("node", here, native=True).shipped


def test_what_runs_without_a_container_is_not_pulled(
    repository: Repository, here: Path, environ: dict[str, str]
) -> None:
    listed = (TemplateSource("node", repository.url),)
    assert ensure(stack("node", templates=listed), here, environ, native=True) == []


def test_one_from_the_store_perhaps_pinned(repository: Repository, here: Path, environ: dict[str, str]) -> None:
    repository.git("tag", "v1")
    assert len(ensure(stack("ada", "ada@v1"), here, environ)) == 2
    assert sorted(os.listdir(here / "template")) == ["ada", "ada@v1"]


def test_one_that_nobody_has_is_told(here: Path, environ: dict[str, str]) -> None:
    with pytest.raises(NotFound, match=r"^\S+:\d+: function 'f0': template 'fortran' is not in the store"):
        ensure(stack("fortran"), here, environ)


def test_all_that_is_listed_is_pulled_when_asked(repository: Repository, here: Path, environ: dict[str, str]) -> None:
    listed = stack(templates=(TemplateSource("cobol", repository.url), TemplateSource("ada")))
    assert pull_configured(listed, here, lambda words: None, environ, overwrite=True) == ("cobol", "ada")
    assert sorted(os.listdir(here / "template")) == ["ada", "cobol"]
