"""The launcher, prebuilt and built anew: whom it starts, with which arguments and variables."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from penstock.watchdog.bundle import collect
from tests.unit.watchdog.bundle.support import telling_bundle, told

PLACE = Path(collect.__file__).parent / "launcher"
BUILD = Path(__file__).parents[4] / "tools" / "build_launchers.sh"
MACHINE = os.uname().machine


def emulator_of(machine: str) -> list[str]:
    """What runs a program of that machine here: a service's name, or nothing."""
    return [] if machine == MACHINE else [f"qemu-{machine}"]


def compiler_of(machine: str) -> str:
    return f"{machine}-linux-gnu-gcc"


def origins() -> Iterator[ParameterSet]:
    for machine in collect.LOADERS:
        yield pytest.param(("prebuilt", machine), marks=pytest.mark.service(*emulator_of(machine)))
        needed = (compiler_of(machine), *emulator_of(machine))
        yield pytest.param(("rebuilt", machine), marks=pytest.mark.service(*needed))


@pytest.fixture(scope="module")
def rebuilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The launchers of all machines that there is a compiler for, made from the source."""
    into = tmp_path_factory.mktemp("launchers")
    subprocess.run([BUILD, into], check=True, capture_output=True)
    return into


@pytest.fixture(params=origins(), ids="-".join)
def launched(request: pytest.FixtureRequest, tmp_path: Path) -> Launched:
    origin, machine = request.param
    binary = PLACE / f"launcher-{machine}"
    if origin == "rebuilt":
        binary = request.getfixturevalue("rebuilt") / binary.name
    return Launched(tmp_path / "bundle", binary, collect.LOADERS[machine], emulator_of(machine))


class Launched:
    """A bundle whose loader tells how it was started."""

    def __init__(self, root: Path, binary: Path, loader: str, emulator: list[str]) -> None:
        self.root = root
        self.program = telling_bundle(root, binary, loader)
        self.loader = loader
        self.emulator = emulator

    def run(
        self, *arguments: str, name: str = "", path: Path | None = None, environ: Mapping[str, str] | None = None
    ) -> tuple[list[str], dict[str, str]]:
        """Arguments and environment of the loader; `name` is what the launcher is called by."""
        program = str(path or self.program)
        if self.emulator:
            start = [*self.emulator, "-0", name or program, program, *arguments]
            done = subprocess.run(start, env=environ or {}, capture_output=True, check=True)
        else:
            start = [name or program, *arguments]
            done = subprocess.run(start, executable=program, env=environ or {}, capture_output=True, check=True)
        return told(done.stdout)

    def expected(self, *after: str) -> list[str]:
        root = self.root
        return [
            f"{root}/lib/{self.loader}", "--library-path", f"{root}/lib", "--argv0", f"{root}/bin/python3",
            f"{root}/lib/interpreter", *after,
        ]  # fmt: skip


WATCHDOG = ("-I", "-S", "-m", "penstock.watchdog", "--launched-as")


def test_it_starts_the_watchdog_with_its_own_arguments(launched: Launched) -> None:
    arguments, _ = launched.run("--version", "a b", "")
    assert arguments == launched.expected(*WATCHDOG, "fwatchdog", "--version", "a b", "")


@pytest.mark.parametrize("name", ["of-watchdog", "/usr/bin/of-watchdog", "./of-watchdog"])
def test_the_watchdog_is_told_by_what_name_it_was_called(launched: Launched, name: str) -> None:
    arguments, _ = launched.run(name=name)
    assert arguments == launched.expected(*WATCHDOG, "of-watchdog")


def test_it_is_found_through_links_from_elsewhere(launched: Launched, tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr" / "fwatchdog").symlink_to("../first")
    (tmp_path / "first").symlink_to(launched.program)
    arguments, _ = launched.run(path=tmp_path / "usr" / "fwatchdog")
    assert arguments == launched.expected(*WATCHDOG, "fwatchdog")


def test_variables_that_would_steer_it_are_put_aside(launched: Launched) -> None:
    environ = {
        "A": "1", "EMPTY": "", "LD_PRELOAD": "/x.so", "LD_LIBRARY_PATH": "/lib", "LC_ALL": "de_DE", "LC_CTYPE": "C",
        "LANG": "en", "PYTHONHOME": "/p", "GLIBC_TUNABLES": "a=b", "LOCPATH": "/l",
    }  # fmt: skip
    _, environment = launched.run(environ=environ)
    kept = ("A", "EMPTY", "LC_CTYPE", "LANG", "PYTHONHOME")
    assert environment == {name: environ[name] for name in kept} | {"LC_ALL": "C"} | {
        f"PENSTOCK_ASIDE_{name}": value for name, value in environ.items() if name not in kept
    }


def test_bytes_that_are_not_text_pass_unchanged(launched: Launched) -> None:
    arguments, environment = launched.run("\udcff", environ={"LD_X": "a"})
    assert os.fsencode(arguments[-1]) == b"\xff"
    assert environment["PENSTOCK_ASIDE_LD_X"] == "a"


def test_a_large_environment_and_many_arguments_pass(launched: Launched) -> None:
    words = [f"argument {number}" for number in range(3000)]
    environ = {f"LD_{number}": "x" * 100 for number in range(3000)}
    arguments, environment = launched.run(*words, environ=environ)
    assert arguments[-3000:] == words
    assert len(environment) == 3001
    assert environment["PENSTOCK_ASIDE_LD_2999"] == "x" * 100


def test_as_python_it_is_the_interpreter_with_the_environment_as_it_is(launched: Launched) -> None:
    arguments, environment = launched.run("-c", "pass", path=launched.root / "bin" / "python3", environ={"LC_ALL": "x"})
    assert arguments == launched.expected("-c", "pass")
    assert environment == {"LC_ALL": "x"}


def test_a_copy_as_python_is_the_interpreter_too(launched: Launched) -> None:
    copy = launched.root / "bin" / "python3"
    copy.unlink()
    shutil.copy(launched.program, copy)
    arguments, _ = launched.run(path=copy)
    assert arguments == launched.expected()


def test_as_penstock_it_is_the_command_line_with_the_environment_as_it_is(launched: Launched) -> None:
    environ = {"LC_ALL": "x", "PENSTOCK_HOST": "0.0.0.0"}
    arguments, environment = launched.run("serve", "--workers", "2", name="/usr/local/bin/penstock", environ=environ)
    assert arguments == launched.expected("-I", "-S", "-m", "penstock", "serve", "--workers", "2")
    assert environment == environ


def test_a_name_that_only_begins_with_penstock_is_a_watchdogs(launched: Launched) -> None:
    arguments, _ = launched.run(name="penstock-watchdog")
    assert arguments == launched.expected(*WATCHDOG, "penstock-watchdog")


def test_without_its_bundle_it_says_so(launched: Launched, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copy(launched.program, alone)
    done = subprocess.run([*launched.emulator, alone], capture_output=True, check=False)
    assert done.returncode == 127
    assert done.stderr.decode() == (f"alone: its bundle is not here, it needs lib/{launched.loader} beside {alone}\n")


@pytest.mark.parametrize("machine", collect.LOADERS)
def test_it_is_small(machine: str) -> None:
    assert (PLACE / f"launcher-{machine}").stat().st_size < 4096
