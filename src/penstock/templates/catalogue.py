"""Finds templates: in `./template`, where git repositories are pulled to, and among those that the package ships.

Asked by the verbs and by `penstock.builders`. Never goes to the network; `repository` does.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from penstock.errors import NotFound
from penstock.templates.model import Template
from penstock.templates.read import FILE, check_template_name, read_template

FOLDER = "template"
"""Where pulled templates are, seen from the directory that a stack file's paths begin in."""

SHIPPED = Path(__file__).parent / "shipped"


def find_template(name: str, directory: Path, *, native: bool = False) -> Template:
    """The template of that name in `directory/template`, or else the shipped one.

    With `native`, one that needs a container gives way to the shipped one of its name, whose handlers have the same form.
    Raises NotFound with what there is; InvalidInput for a name that cannot be one, or a `template.yml` that cannot be used.
    """
    check_template_name(name)
    name = "dockerfile" if name.lower() == "dockerfile" else name
    folder = directory / FOLDER / name
    found = read_template(folder, name) if (folder / FILE).is_file() else None
    base = name.partition("@")[0] if native else name
    if found is None or (native and found.native is None):
        own = SHIPPED / base
        found = read_template(own, base, shipped=True) if (own / FILE).is_file() else found
    if found is None:
        raise NotFound(_nothing_named(name, directory))
    return found


def is_pulled(name: str, directory: Path) -> bool:
    """Whether `directory/template` has a template of that name. Raises InvalidInput for a name that cannot be one."""
    return (directory / FOLDER / check_template_name(name) / FILE).is_file()


def shipped() -> list[Template]:
    """The package's own templates by name."""
    return [read_template(SHIPPED / name, name, shipped=True) for name in _names(SHIPPED)]


def pulled(directory: Path) -> list[Template]:
    """The templates in `directory/template` by name. Raises InvalidInput when one cannot be used."""
    folder = directory / FOLDER
    return [read_template(folder / name, name) for name in _names(folder)]


def _names(folder: Path) -> list[str]:
    return sorted(_walk(folder, ""))


def _walk(folder: Path, prefix: str) -> Iterator[str]:
    """Names of the folders with a `template.yml`; a pinned one's ref may have slashes, which are folders."""
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.is_dir():
                continue
            if Path(entry.path, FILE).is_file():
                yield prefix + entry.name
            elif prefix or "@" in entry.name:
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")


def _nothing_named(name: str, directory: Path) -> str:
    known = sorted({*_names(SHIPPED), *_names(directory / FOLDER)})
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
    return (
        f"template {name!r} is neither in {directory / FOLDER} nor one of Penstock's own{hint}"
        f" (`penstock template pull URL` and `penstock template store pull NAME` bring others)"
    )
