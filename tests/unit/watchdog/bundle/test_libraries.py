"""The closure of shared libraries: complete, each once, and what is missing is named."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.errors import InvalidInput, NotFound, NotSupported
from penstock.watchdog.bundle.libraries import ask, can_rename, closure, loader_of, read_file
from tests.unit.watchdog.bundle.support import make_elf


class Machine:
    """Files in a folder, and a listing that finds every library that is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[str] = []

    def add(self, name: str, *needed: str) -> Path:
        path = self.folder / name
        path.write_bytes(make_elf(needed=needed, soname=name))
        return path

    def listing(self, path: Path) -> Mapping[str, Path]:
        self.asked.append(path.name)
        return {entry.name: entry for entry in self.folder.iterdir()}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_libraries_need_themselves_belongs_to_it(machine: Machine) -> None:
    program = machine.add("program", "liba.so")
    machine.add("liba.so", "libb.so")
    machine.add("libb.so", "liba.so")
    assert closure([program], machine.listing) == {
        "liba.so": machine.folder / "liba.so",
        "libb.so": machine.folder / "libb.so",
    }


def test_what_is_there_already_is_not_looked_for(machine: Machine) -> None:
    program = machine.add("program", "ld.so")
    assert closure([program], machine.listing, present=["ld.so"]) == {}
    assert machine.asked == []


def test_what_is_opened_later_comes_with_its_own_needs(machine: Machine) -> None:
    program = machine.add("program", "libc.so")
    machine.add("libc.so")
    machine.add("libgcc.so", "libm.so")
    machine.add("libm.so")
    found = closure([program], machine.listing, extra=["libgcc.so", "absent.so"])
    assert list(found) == ["libc.so", "libgcc.so", "libm.so"]


def test_all_that_is_missing_is_named_with_who_needs_it(machine: Machine) -> None:
    program = machine.add("program", "liba.so", "gone.so")
    machine.add("liba.so", "lost.so")
    with pytest.raises(NotFound) as caught:
        closure([program], machine.listing)
    assert str(caught.value).splitlines()[1:] == [
        f"  gone.so, needed by {program}",
        f"  lost.so, needed by {machine.folder}/liba.so",
    ]


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "libx.so"
    path.write_bytes(b"no library")
    with pytest.raises(InvalidInput, match=f"{path}: it is not an ELF file"):
        read_file(path)


@pytest.mark.parametrize(("interpreter", "named"), [("/lib/ld-musl-x86_64.so.1", "ld-musl"), ("", "the kernel alone")])
def test_only_glibc_can_be_bundled(tmp_path: Path, interpreter: str, named: str) -> None:
    path = tmp_path / "python"
    path.write_bytes(make_elf(interpreter=interpreter))
    with pytest.raises(NotSupported, match=named):
        loader_of(path)


def test_the_loader_of_this_machine_finds_the_libraries_of_this_interpreter() -> None:
    program = Path(os.path.realpath(sys.executable))
    loader = loader_of(program)
    assert can_rename(loader)
    found = closure([program], ask(loader), present=[loader.name], extra=["libgcc_s.so.1"])
    assert {"libc.so.6", "libm.so.6"} <= found.keys()
    assert all(path.is_file() for path in found.values())
