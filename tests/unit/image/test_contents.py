"""What the gateway's part of the image holds, and whose certificates it trusts."""

from __future__ import annotations

import importlib.util
import ssl
from pathlib import Path
from types import SimpleNamespace

import pytest

from penstock.image import contents as image_contents
from penstock.image.contents import certificates, collect_all, data, missing
from penstock.watchdog.bundle.collect import LIBRARY, Contents


@pytest.fixture(scope="module")
def contents() -> Contents:
    return collect_all()


@pytest.fixture(scope="module")
def modules(contents: Contents) -> set[str]:
    """What can be imported from it."""
    places = [place for place in (*contents.bytecode, *contents.binaries) if place.startswith(f"{LIBRARY}/")]
    within = [place.removeprefix(f"{LIBRARY}/").partition(".")[0] for place in places]
    return {place.removesuffix("/__init__").replace("/", ".") for place in within}


def test_all_of_penstock_is_in_it_but_what_tests_are_made_of(modules: set[str]) -> None:
    programs = {
        "penstock.__main__",
        "penstock.watchdog.__main__",
        "penstock.gateway.worker",
        "penstock.control.process",
    }
    assert programs | {"penstock.cli.verbs.deploy", "penstock.providers.memory", "penstock.image.build"} <= modules
    assert [name for name in modules if name.startswith("penstock.testing")] == []


def test_what_penstock_imports_is_in_it(modules: set[str]) -> None:
    libraries = {
        "uvloop", "httptools", "starlette", "uvicorn", "aiohttp", "msgspec", "yaml", "click", "rich", "apsw", "prometheus_client",
        "jwt", "cryptography", "a2wsgi", "wsproto", "aiodocker",
    }  # fmt: skip
    assert libraries <= modules
    assert {"anyio._backends._asyncio", "uvicorn.protocols.http.httptools_impl"} <= modules  # imported by name, late


def test_tools_of_development_are_not(modules: set[str]) -> None:
    assert {
        "pytest",
        "mypy",
        "hypothesis",
        "schemathesis",
        "flask",
        "pip",
        "setuptools",
        "websockets",
    } & modules == set()


def test_files_that_are_read_as_they_are_are_in_it(contents: Contents) -> None:
    assert {f"{LIBRARY}/penstock/openapi.yaml", f"{LIBRARY}/penstock/control/start.html"} <= set(contents.texts)


def test_what_functions_begin_with_is_in_it_as_it_is(contents: Contents) -> None:
    template = f"{LIBRARY}/penstock/templates/shipped/python3-http"
    assert {f"{template}/template.yml", f"{template}/Dockerfile", f"{template}/function/handler.py"} <= set(
        contents.texts
    )


def test_data_is_neither_code_nor_examples_nor_what_starts_bundles(tmp_path: Path) -> None:
    package = tmp_path / "pack"
    for name in (
        "a.py",
        "b.pyc",
        "c.so",
        "page.html",
        "deep/x.json",
        "_examples/stack.yml",
        "w/launcher/l",
        "testing/t.yml",
    ):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).touch()
    assert dict(data(package)) == {
        f"{LIBRARY}/pack/deep/x.json": package / "deep/x.json",
        f"{LIBRARY}/pack/page.html": package / "page.html",
    }


def test_what_is_optional_and_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_contents, "OPTIONAL", ("json", "no_such_package"))
    assert missing() == ("no_such_package",)


def trusting(monkeypatch: pytest.MonkeyPatch, usual: str | None) -> None:
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: SimpleNamespace(cafile=usual))


def test_the_machines_authorities_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "usual.pem").touch()
    (tmp_path / "other.pem").touch()
    trusting(monkeypatch, str(tmp_path / "usual.pem"))
    assert certificates([str(tmp_path / "other.pem")]) == tmp_path / "usual.pem"
    trusting(monkeypatch, None)
    assert certificates([str(tmp_path / "none.pem"), str(tmp_path / "other.pem")]) == tmp_path / "other.pem"


def test_a_machine_without_authorities_takes_certifis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusting(monkeypatch, None)
    (tmp_path / "cacert.pem").touch()
    spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "certifi" else None)
    assert certificates([]) == tmp_path / "cacert.pem"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert certificates([]) is None
