"""What the gateway's part of the image of this installation holds."""

from __future__ import annotations

import pytest

from penstock.image.contents import collect_all
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
        "httpx2", "httpcore2", "truststore",
    }  # fmt: skip
    assert libraries <= modules
    assert {"anyio._backends._asyncio", "uvicorn.protocols.http.httptools_impl"} <= modules  # imported by name, late


def test_libraries_find_their_own_version(contents: Contents) -> None:
    asked = {
        place.split("/")[-2].partition("-")[0] for place in contents.texts if place.endswith(".dist-info/METADATA")
    }
    assert {"httpx2", "httpcore2", "click", "rich"} <= asked


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


def test_sources_of_functions_are_in_it_as_they_are(contents: Contents) -> None:
    template = f"{LIBRARY}/penstock/templates/shipped/python3-http"
    store = f"{LIBRARY}/penstock/functionstore"
    assert set(contents.texts) >= {
        f"{template}/template.yml",
        f"{template}/Dockerfile",
        f"{template}/function/handler.py",
        f"{store}/functions.json",
        f"{store}/source/nodeinfo/handler.py",
    }
