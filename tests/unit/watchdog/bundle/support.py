"""ELF files made for tests, a small Contents, and a bundle whose loader only tells how it was started."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from penstock.watchdog.bundle.collect import LIBRARY, Contents

X86_64 = 62
BASE = 0x400000
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")


def make_elf(
    needed: Iterable[str] = (),
    soname: str = "",
    interpreter: str = "",
    machine: int = X86_64,
    tail: bytes = b"debugging symbols",
) -> bytes:
    """A file whose header, segments and dynamic section say this, and which holds nothing else; then the tail."""
    strings = b"\0"
    tags = []
    for kind, name in [*((1, name) for name in needed), *([(14, soname)] if soname else [])]:
        tags.append((kind, len(strings)))
        strings += name.encode() + b"\0"
    table = HEADER.size
    after = table + 3 * SEGMENT.size
    tags += [(5, BASE + after), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)
    words = interpreter.encode() + b"\0"
    body = strings + dynamic + words
    end = after + len(body)
    at = after + len(strings)
    segments = [
        (1, 5, 0, BASE, BASE, end, end, 4096),
        (2, 6, at, BASE + at, BASE + at, len(dynamic), len(dynamic), 8),
        (3 if interpreter else 4, 4, end - len(words), 0, 0, len(words), len(words), 1),
    ]
    head = HEADER.pack(
        b"\x7fELF\x02\x01\x01" + bytes(9), 3, machine, 1, BASE, table, end, 0, HEADER.size, SEGMENT.size, 3, 64, 7, 6
    )
    return head + b"".join(SEGMENT.pack(*segment) for segment in segments) + body + tail


def small_contents(folder: Path) -> Contents:
    """Two modules, a library and a licence, from files in the folder."""
    folder.mkdir(exist_ok=True)
    (folder / "one.py").write_text("ONE = frozenset(('a', 'b', 'c'))\n\n\ndef name() -> str:\n    return __file__\n")
    (folder / "two.py").write_text('"""Two."""\nimport one\n')
    (folder / "libx.so").write_bytes(make_elf(soname="libx.so.1"))
    (folder / "LICENSE").write_text("Do as you like.\n")
    return Contents(
        machine="x86_64",
        bytecode={f"{LIBRARY}/one.pyc": folder / "one.py", f"{LIBRARY}/pack/two.pyc": folder / "two.py"},
        binaries={"lib/libx.so.1": folder / "libx.so"},
        texts={"licenses/x/LICENSE": folder / "LICENSE"},
        loader="lib/ld-linux-x86-64.so.2",
        distributions=(),
    )


TELLER = f"""#!{sys.executable} -IS
import json, os, sys
print(json.dumps([sys.argv, [[name.decode(), value.decode()] for name, value in os.environb.items()]]))
"""


def telling_bundle(directory: Path, launcher: Path, loader: str = "ld-linux-x86-64.so.2") -> Path:
    """A bundle of this launcher and a loader that prints its arguments and its environment. Returns the launcher's path."""
    (directory / "lib").mkdir(parents=True)
    (directory / "bin").mkdir()
    started = directory / "fwatchdog"
    started.write_bytes(launcher.read_bytes())
    started.chmod(0o755)
    (directory / "bin" / "python3").symlink_to("../fwatchdog")
    told = directory / "lib" / loader
    told.write_text(TELLER)
    told.chmod(0o755)
    return started


def told(output: bytes) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment that such a loader was started with."""
    arguments, pairs = json.loads(output)
    environment: dict[str, Any] = dict(pairs)
    return arguments, environment
