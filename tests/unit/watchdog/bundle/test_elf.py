"""What is read from ELF files, and that nothing in one can do harm."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import InvalidInput, NotSupported
from penstock.watchdog.bundle.elf import Elf, is_elf, read_elf, without_sections
from tests.unit.watchdog.bundle.support import HEADER, SEGMENT, make_elf

LIBRARY = make_elf(needed=("libc.so.6", "libm.so.6"), soname="libx.so.1")


def changed(data: bytes, at: int, form: str, value: int) -> bytes:
    patched = bytearray(data)
    struct.pack_into(form, patched, at, value)
    return bytes(patched)


def test_a_library_tells_its_name_and_what_it_needs() -> None:
    assert read_elf(LIBRARY) == Elf("x86_64", "", "libx.so.1", ("libc.so.6", "libm.so.6"))


def test_a_program_tells_its_loader() -> None:
    assert read_elf(make_elf(interpreter="/lib64/ld.so")).interpreter == "/lib64/ld.so"


@pytest.mark.parametrize(("number", "name"), [(62, "x86_64"), (183, "aarch64"), (243, "riscv64")])
def test_machines_have_the_names_of_uname(number: int, name: str) -> None:
    assert read_elf(make_elf(machine=number)).machine == name


def test_the_running_interpreter_can_be_read() -> None:
    elf = read_elf(Path(os.path.realpath(sys.executable)).read_bytes())
    assert elf.machine == os.uname().machine
    assert "libc.so.6" in elf.needed


def test_what_is_not_mapped_is_cut_off() -> None:
    kept = without_sections(LIBRARY)
    assert kept == changed(changed(changed(LIBRARY, 40, "<Q", 0), 60, "<H", 0), 62, "<H", 0).removesuffix(
        b"debugging symbols"
    )
    assert read_elf(kept) == read_elf(LIBRARY)


def test_cutting_twice_changes_nothing_more() -> None:
    assert without_sections(without_sections(LIBRARY)) == without_sections(LIBRARY)


@pytest.mark.parametrize("data", [b"", b"\x7fELF", b"#!/bin/sh\n", b"\x7fELF" + bytes(30)])
def test_other_files_are_no_elf(data: bytes) -> None:
    with pytest.raises(InvalidInput):
        read_elf(data)
    assert is_elf(data) is data.startswith(b"\x7fELF")


@pytest.mark.parametrize(
    "data",
    [changed(LIBRARY, 4, "<B", 1), changed(LIBRARY, 5, "<B", 2), changed(LIBRARY, 18, "<H", 40)],
    ids=["32 bits", "big endian", "arm"],
)
def test_other_machines_are_refused(data: bytes) -> None:
    with pytest.raises(NotSupported, match="x86_64"):
        read_elf(data)


@pytest.mark.parametrize(
    ("at", "form", "value"),
    [
        (32, "<Q", 1 << 62),  # where the segments are
        (54, "<H", 1),  # the size of one
        (56, "<H", 0),  # how many
        (56, "<H", 65535),
        (HEADER.size + 32, "<Q", 1 << 62),  # the size of the first
        (HEADER.size + SEGMENT.size + 8, "<Q", (1 << 64) - 8),  # where the dynamic section is
        (HEADER.size + 16, "<Q", 0),  # where it is loaded, without the names
    ],
)
def test_tables_that_lead_outside_are_refused(at: int, form: str, value: int) -> None:
    with pytest.raises(InvalidInput):
        read_elf(changed(LIBRARY, at, form, value))


def test_a_name_without_an_end_is_refused() -> None:
    endless = make_elf(interpreter="x" * 5000)
    with pytest.raises(InvalidInput, match="does not end"):
        read_elf(endless)


@given(at=st.integers(0, len(LIBRARY) - 1), value=st.integers(0, 255), end=st.integers(0, len(LIBRARY)))
def test_damage_is_noticed_or_harmless(at: int, value: int, end: int) -> None:
    for data in (changed(LIBRARY, at, "<B", value), LIBRARY[:end]):
        for work in (read_elf, without_sections):
            with contextlib.suppress(InvalidInput, NotSupported):
                work(data)
