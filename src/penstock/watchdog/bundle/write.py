"""Lays out a bundle in an empty directory: the same bytes, modes and times each time.

Called by `build` with what `collect` found. Bytecode is written by a process of its own, binaries without what loading does
not need.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import penstock
from penstock.errors import InvalidInput, NotSupported, PenstockError
from penstock.watchdog.bundle.collect import LAUNCHER_NAMES, LIBRARY, Contents
from penstock.watchdog.bundle.elf import is_elf, without_sections

MARK = "bundle.json"
"""The file by which a bundle is known; tells what it was made from."""
PLACE = "/penstock"
"""Where the watchdog's bundle is in an image."""

_PROGRAM, _FILE = 0o755, 0o644


@dataclass(frozen=True, slots=True)
class Kind:
    """Whose bundle it is."""

    place: str
    """Where it is in an image, which is also what tracebacks show."""
    names: tuple[str, ...]
    """What its launcher can be called by."""
    module: str
    """What the launcher runs when it is called so."""


WATCHDOG = Kind(PLACE, LAUNCHER_NAMES, "penstock.watchdog")


@dataclass(frozen=True, slots=True)
class Size:
    """What a directory holds."""

    files: int
    bytes: int


def write(contents: Contents, directory: Path, when: int, kind: Kind = WATCHDOG) -> None:
    """Write the bundle into the empty directory; all times become `when`, seconds since 1970. Raises OSError, PenstockError."""
    (directory / LIBRARY / "lib-dynload").mkdir(parents=True)  # it must be there for the interpreter to know its place
    _compile(contents.bytecode, directory, kind.place)
    for place, path in contents.binaries.items():
        _put(directory / place, _loadable(path), _PROGRAM)
    for place, path in contents.texts.items():
        _put(directory / place, path.read_bytes(), _FILE)
    _put(directory / MARK, _description(contents, kind), _FILE)
    _launchers(contents, directory, kind.names)
    _settle(directory, when)


def measure(directory: Path) -> Size:
    """Files in the directory and their bytes."""
    sizes = [path.lstat().st_size for path in directory.rglob("*") if path.is_symlink() or path.is_file()]
    return Size(len(sizes), sum(sizes))


def entrypoint(contents: Contents, root: str, kind: Kind = WATCHDOG) -> list[str]:
    """How a bundle at `root` is started: by its launcher, where there is one for this machine."""
    return [f"{root}/{kind.names[0]}"] if contents.launcher else command_line(contents, root, kind.module)


def command_line(contents: Contents, root: str, module: str = WATCHDOG.module) -> list[str]:
    """How a bundle at `root` is started without its launcher."""
    library = f"{root}/lib"
    return [
        f"{root}/{contents.loader}", "--library-path", library, "--argv0", f"{root}/bin/python3", f"{library}/interpreter",
        "-I", "-S", "-m", module,
    ]  # fmt: skip


def _compile(jobs: Mapping[str, Path], directory: Path, shown: str) -> None:
    listed = [(str(path), str(directory / place), f"{shown}/{place[:-1]}") for place, path in sorted(jobs.items())]
    for folder in {Path(target).parent for _, target, _ in listed}:
        folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-S", "-B", Path(__file__).with_name("bytecode.py")],
        input=json.dumps(listed),
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONHASHSEED": "0", "PATH": os.environ.get("PATH", os.defpath)},
    )
    if done.returncode != 0:
        raise PenstockError(f"bytecode cannot be written:\n{done.stderr.strip()}")
    faults = json.loads(done.stdout)
    if faults:
        raise PenstockError("these files cannot be compiled:\n" + "\n".join(f"  {fault}" for fault in faults))


def _loadable(path: Path) -> bytes:
    data = path.read_bytes()
    if not is_elf(data):
        return data
    try:
        return without_sections(data)
    except (InvalidInput, NotSupported) as error:
        raise type(error)(f"{path}: {error}") from error


def _description(contents: Contents, kind: Kind) -> bytes:
    facts = {
        "penstock": penstock.__version__,
        "python": sys.version.split()[0],
        "machine": contents.machine,
        "entrypoint": entrypoint(contents, kind.place, kind),
        "packages": {name: importlib.metadata.version(name) for name in contents.distributions},
    }
    return json.dumps(facts, indent=1, sort_keys=True).encode() + b"\n"


def _launchers(contents: Contents, directory: Path, names: Sequence[str]) -> None:
    (directory / "bin").mkdir()
    if contents.launcher is None:
        return
    first, *others = names
    _put(directory / first, contents.launcher.read_bytes(), _PROGRAM)
    for name in others:
        (directory / name).symlink_to(first)
    (directory / "bin" / "python3").symlink_to(f"../{first}")


def _put(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def _settle(directory: Path, when: int) -> None:
    """Give everything the modes and times that are always the same, from the leaves to the root."""
    for folder, _, files in os.walk(directory, topdown=False):
        for name in files:
            os.utime(Path(folder, name), (when, when), follow_symlinks=False)
        for name in os.listdir(folder):
            if Path(folder, name).is_symlink():
                os.utime(Path(folder, name), (when, when), follow_symlinks=False)
        os.chmod(folder, _PROGRAM)
        os.utime(folder, (when, when))
