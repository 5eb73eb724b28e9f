"""The little of ELF (the gABI, elf(5)) that a bundle needs: what a file wants loaded with it, and the part that gets loaded.

Called by `libraries` and `write`. Works on bytes that came from anywhere: whatever does not hold together is InvalidInput.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from penstock.errors import InvalidInput, NotSupported

MACHINES = {62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""`e_machine` of 64-bit little-endian machines, by the names that uname(1) gives them."""

_MAGIC = b"\x7fELF"
_CLASS_64, _LITTLE = 2, 1
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_TAG = struct.Struct("<qQ")
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_SONAME = 0, 1, 5, 14
_NAME_MOST = 4096
_SECTIONS_AT, _SECTION_COUNTS_AT = 40, 60
"""Where the header says where the section table is, and how many sections there are (and which holds their names)."""


@dataclass(frozen=True, slots=True)
class Elf:
    """What a dynamic program or library says about itself."""

    machine: str
    """As uname(1) names it."""
    interpreter: str = ""
    """Path of the loader; only programs name one."""
    soname: str = ""
    """The name under which others want this library."""
    needed: tuple[str, ...] = ()
    """Names of the libraries that must be loaded with it."""


class _Segment(NamedTuple):
    kind: int
    flags: int
    offset: int
    address: int
    physical: int
    size: int
    memory: int
    align: int


def is_elf(data: bytes) -> bool:
    return data.startswith(_MAGIC)


def read_elf(data: bytes) -> Elf:
    """What is needed to load this file. Raises InvalidInput, NotSupported for other machines than `MACHINES`."""
    machine, segments = _headers(data)
    tags = [tag for segment in segments if segment.kind == _PT_DYNAMIC for tag in _tags(data, segment)]
    strings = next((_offset_of(value, segments) for kind, value in tags if kind == _DT_STRTAB), 0)
    interpreter = next((_text(data, segment.offset) for segment in segments if segment.kind == _PT_INTERP), "")
    return Elf(
        machine=machine,
        interpreter=interpreter,
        soname=next((_text(data, strings + value) for kind, value in tags if kind == _DT_SONAME), ""),
        needed=tuple(_text(data, strings + value) for kind, value in tags if kind == _DT_NEEDED),
    )


def without_sections(data: bytes) -> bytes:
    """The file as far as it is mapped into memory: without debugging symbols and the section table, which loading ignores.

    Raises InvalidInput, NotSupported.
    """
    _, segments = _headers(data)
    end = max(segment.offset + segment.size for segment in segments)
    kept = bytearray(data[:end])
    struct.pack_into("<Q", kept, _SECTIONS_AT, 0)
    struct.pack_into("<HH", kept, _SECTION_COUNTS_AT, 0, 0)
    return bytes(kept)


def _headers(data: bytes) -> tuple[str, list[_Segment]]:
    """Machine and segments, none of which reaches beyond the end of the file."""
    if not is_elf(data) or len(data) < _HEADER.size:
        raise InvalidInput("it is not an ELF file")
    identity, _, machine, _, _, table, _, _, _, entry_size, count, *_ = _HEADER.unpack_from(data)
    if identity[4] != _CLASS_64 or identity[5] != _LITTLE or machine not in MACHINES:
        raise NotSupported(f"it is made for another machine than {', '.join(MACHINES.values())}")
    if entry_size != _SEGMENT.size or not count or table + count * entry_size > len(data):
        raise InvalidInput("its table of segments is broken")
    segments = [_Segment(*_SEGMENT.unpack_from(data, table + number * entry_size)) for number in range(count)]
    if any(segment.size and segment.offset + segment.size > len(data) for segment in segments):
        raise InvalidInput("it is shorter than its segments")
    # Of an empty segment (a program's zeroed memory) the offset means nothing.
    return MACHINES[machine], [segment if segment.size else segment._replace(offset=0) for segment in segments]


def _tags(data: bytes, segment: _Segment) -> Iterator[tuple[int, int]]:
    for at in range(segment.offset, segment.offset + segment.size - _TAG.size + 1, _TAG.size):
        kind, value = _TAG.unpack_from(data, at)
        if kind == _DT_NULL:
            return
        yield kind, value


def _offset_of(address: int, segments: list[_Segment]) -> int:
    """Where in the file the byte is that will be at the address."""
    for segment in segments:
        if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
            return segment.offset + address - segment.address
    raise InvalidInput("its names are outside of what gets loaded")


def _text(data: bytes, at: int) -> str:
    end = data.find(b"\0", at, at + _NAME_MOST)
    if end < 0:
        raise InvalidInput("one of its names does not end")
    return data[at:end].decode("utf-8", "surrogateescape")
