"""Decides what belongs in a bundle: the interpreter, the standard library, what the watchdog imports, and their libraries.

Called by `build`, and for all of Penstock by `penstock.image`. Only looks; `write` copies. Works for the interpreter that runs
it, wherever that keeps its files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import penstock
from penstock.errors import NotSupported, PenstockError
from penstock.watchdog.bundle import libraries
from penstock.watchdog.bundle.trace import WATCHDOG, Scope

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
LIBRARY = f"lib/{VERSION}"
"""Where the interpreter finds its standard library, seen from the bundle's root."""

LOADERS = {"x86_64": "ld-linux-x86-64.so.2", "aarch64": "ld-linux-aarch64.so.1"}
"""Names under which the launchers look for the loader (launcher.c)."""

LAUNCHER_NAMES = ("fwatchdog", "of-watchdog", "penstock-watchdog")
"""What the launcher can be called by; the names decide some defaults (`watchdog.settings.ORIGINALS`)."""

LEFT_OUT = frozenset(
    {
        # Tests and tools of development.
        "test", "tests", "idlelib", "tkinter", "turtle", "turtledemo", "ensurepip", "lib2to3", "distutils", "pydoc_data",
        "__phello__", "__hello__", "_ctypes_test", "_testbuffer", "_testcapi", "_testclinic", "_testimportmultiple",
        "_testinternalcapi", "_testmultiphase", "_testsinglephase", "_testexternalinspection", "_xxtestfuzz",
        "xxlimited", "xxlimited_35", "xxsubtype", "_tkinter",
        # Terminals and sound: a function has neither. readline, gdbm and Berkeley DB have licences of their own besides.
        "curses", "_curses", "_curses_panel", "readline", "rlcompleter", "ossaudiodev", "_gdbm", "_dbm",
        # The network information service, which needs half a dozen libraries.
        "nis",
        # Programs and extensions of SQLite that apsw carries along.
        "sqlite_extra_binaries",
        # Where the machine's own changes to Python are.
        "sitecustomize", "usercustomize", "site-packages", "dist-packages", "__pycache__",
    }
)  # fmt: skip
"""Modules and folders that no function needs, and Penstock neither."""

_OPENED_LATER = ("libgcc_s.so.1",)
"""glibc opens it when a thread ends."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Files of a bundle by their places in it."""

    machine: str
    bytecode: Mapping[str, Path]
    """Source files that are to be compiled; the places end in `.pyc`."""
    binaries: Mapping[str, Path]
    """Programs and libraries."""
    texts: Mapping[str, Path]
    """Licences, and files that are read as they are."""
    loader: str
    """The loader's place."""
    distributions: tuple[str, ...]
    """Names of the distributions that parts are taken from."""

    @property
    def launcher(self) -> Path | None:
        """The prebuilt launcher; None where there is none for this machine."""
        path = Path(__file__).parent / "launcher" / f"launcher-{self.machine}"
        return path if path.is_file() else None


def collect(scope: Scope = WATCHDOG) -> Contents:
    """Everything that belongs in a bundle made from this interpreter. Raises NotSupported, NotFound, PenstockError."""
    program = Path(os.path.realpath(sys.executable))
    loader = libraries.loader_of(program)
    if not libraries.can_rename(loader):
        raise NotSupported(f"the loader {loader} has no --argv0: a bundle is made where glibc is 2.33 or later")
    modules = imported_modules(scope)
    distributions = distributions_of(modules)
    bytecode, extensions = sort_out([*standard_library(), *packages(modules)])
    extensions["lib/interpreter"] = program
    found = libraries.closure(extensions.values(), libraries.ask(loader), present=(loader.name,), extra=_OPENED_LATER)
    found[loader.name] = loader
    return Contents(
        machine=libraries.read_file(program).machine,
        bytecode=bytecode,
        binaries={**extensions, **{f"lib/{name}": path for name, path in found.items()}},
        texts=dict(licences(distributions)),
        loader=f"lib/{loader.name}",
        distributions=distributions,
    )


def imported_modules(scope: Scope) -> dict[str, Path]:
    """The modules that the scope imports, whatever it will be told to do, with their files. Raises PenstockError."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", Path(__file__).with_name("trace.py")],
        input=json.dumps({"path": [os.path.abspath(entry) for entry in sys.path], **dataclasses.asdict(scope)}),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise PenstockError(f"the modules of {scope.root} cannot all be imported here:\n{done.stderr.strip()}")
    return {name: Path(file) for name, file in json.loads(done.stdout)}


def standard_library() -> Iterator[tuple[str, Path]]:
    """Files of the standard library by their places, without what is left out."""
    folder = Path(os.__file__).parent
    yield from _tree(folder, LIBRARY)
    compiled = next((Path(entry) for entry in sys.path if entry.endswith("/lib-dynload")), None)
    if compiled is not None and compiled.parent != folder:
        yield from _tree(compiled, f"{LIBRARY}/lib-dynload")


def packages(modules: Mapping[str, Path]) -> Iterator[tuple[str, Path]]:
    """Files of the packages that are not Python's own: ours as far as it is imported, all of the others."""
    own = Path(os.__file__).parent
    for name, file in sorted(modules.items()):
        top, _, below = name.partition(".")
        if top in sys.stdlib_module_names or top == "__main__" or _is_below(file, own):
            continue
        if top == penstock.__name__:
            yield f"{LIBRARY}/{file.relative_to(Path(penstock.__file__).parents[1])}", file
        elif not below:
            yield from _package(file)


def _package(file: Path) -> Iterator[tuple[str, Path]]:
    """The whole package: what it imports late, at the first request of some kind, is needed too."""
    if file.name.startswith("__init__."):  # it may be a compiled one
        yield from _tree(file.parent, f"{LIBRARY}/{file.parent.name}")
    else:
        yield f"{LIBRARY}/{file.name}", file


def _is_below(file: Path, folder: Path) -> bool:
    """Whether a file is the folder's own, and not in the libraries of others that may lie inside of it."""
    return folder in file.parents and not {"site-packages", "dist-packages"} & set(file.relative_to(folder).parts)


def _tree(folder: Path, place: str) -> Iterator[tuple[str, Path]]:
    for entry in sorted(folder.iterdir()):
        if entry.name.partition(".")[0] in LEFT_OUT or entry.name.startswith("config-"):
            continue
        if entry.is_dir():
            yield from _tree(entry, f"{place}/{entry.name}")
        elif entry.suffix in (".py", ".so"):
            yield f"{place}/{entry.name}", entry


def sort_out(files: Iterable[tuple[str, Path]]) -> tuple[dict[str, Path], dict[str, Path]]:
    """What is to be compiled, under the name that it will have then, and what is already."""
    bytecode: dict[str, Path] = {}
    extensions: dict[str, Path] = {}
    for place, path in files:
        if path.suffix == ".py":
            bytecode[f"{place}c"] = path
        else:
            extensions[place] = path
    return bytecode, extensions


def distributions_of(modules: Iterable[str]) -> tuple[str, ...]:
    """Names of the distributions that brought the modules, without Python and without us."""
    places = importlib.metadata.packages_distributions()
    tops = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    return tuple(sorted({name for top in tops for name in places.get(top, ())} - {penstock.__name__}))


def licences(distributions: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Licence files of Python, of every distribution that has a part in the bundle, and ours."""
    for name in [*distributions, penstock.__name__]:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # ours, run from its sources
            yield from _licences_of(importlib.metadata.distribution(name))
    python = Path(os.__file__).with_name("LICENSE.txt")
    if python.is_file():
        yield "licenses/python/LICENSE.txt", python


def _licences_of(distribution: importlib.metadata.Distribution) -> Iterator[tuple[str, Path]]:
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        if ".dist-info/" in str(file) and _is_licence(file.name) and path.is_file():
            yield f"licenses/{distribution.name}/{file.name}", path


def _is_licence(name: str) -> bool:
    return name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS"))
