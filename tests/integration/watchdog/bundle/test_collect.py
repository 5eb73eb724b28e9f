"""What a bundle of this installation holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.watchdog.bundle.collect import LIBRARY, Contents, collect
from penstock.watchdog.modes import _PLACES


@pytest.fixture(scope="module")
def contents() -> Contents:
    return collect()


@pytest.fixture(scope="module")
def modules(contents: Contents) -> set[str]:
    """What can be imported from the bundle."""
    places = [*contents.bytecode, *contents.binaries]
    within = [place.removeprefix(f"{LIBRARY}/") for place in places if place.startswith(f"{LIBRARY}/")]
    return {
        place.partition(".")[0].removeprefix("lib-dynload/").removesuffix("/__init__").replace("/", ".")
        for place in within
    }


@pytest.mark.parametrize("mode", sorted(_PLACES))
def test_every_mode_is_in_it(mode: str, modules: set[str]) -> None:
    assert _PLACES[mode].partition(":")[0] in modules


def test_what_the_watchdog_imports_late_is_in_it(modules: set[str]) -> None:
    late = {
        "penstock.watchdog.__main__",
        "penstock.watchdog.jwtauth",
        "penstock.watchdog.workers",
        "penstock.watchdog.asgi.websocket",
    }
    assert late | {"uvloop", "httptools", "wsproto", "jwt", "cryptography"} <= modules


def test_other_rooms_and_their_libraries_are_not(modules: set[str]) -> None:
    strangers = (
        "penstock.cli",
        "penstock.control",
        "penstock.gateway",
        "penstock.providers",
        "penstock.watchdog.bundle",
    )
    assert [name for name in modules if name.startswith(strangers)] == []
    assert {"click", "rich", "aiohttp", "starlette", "apsw", "msgspec", "pip", "setuptools"} & modules == set()


def test_the_standard_library_is_in_it_for_functions(modules: set[str]) -> None:
    assert {"json", "sqlite3", "xml.etree.ElementTree", "decimal", "ctypes", "multiprocessing", "unittest"} <= modules
    assert {"test", "tkinter", "idlelib", "ensurepip", "lib2to3", "readline", "sitecustomize"} & modules == set()


def test_no_tests_and_caches_of_anyone(contents: Contents) -> None:
    parts = {part for place in contents.bytecode for part in Path(place).parts}
    assert {"test", "tests", "__pycache__", "site-packages", "dist-packages"} & parts == set()


def test_libraries_are_beside_their_loader(contents: Contents) -> None:
    names = {Path(place).name for place in contents.binaries if Path(place).parent == Path("lib")}
    assert {"interpreter", Path(contents.loader).name, "libc.so.6", "libgcc_s.so.1"} <= names


def test_licences_of_all_that_has_a_part_in_it_are_in_it(contents: Contents) -> None:
    owners = {place.split("/")[1].lower() for place in contents.texts}
    assert {"uvloop", "httptools", "wsproto", "pyjwt", "cryptography", "python", "penstock"} <= owners


def test_all_files_that_are_wanted_are_there(contents: Contents) -> None:
    everything = [*contents.bytecode.values(), *contents.binaries.values(), *contents.texts.values()]
    assert [path for path in everything if not path.is_file()] == []
