"""Begins a function: its folder from a template, its entry in a stack file, and what git should leave out.

Called by the verb `new`. Everything that can be judged is judged before anything is written; what was written is taken back
when a later step fails.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

import msgspec

from penstock.core.names import check_function_name
from penstock.errors import AlreadyExists, InvalidInput, NotFound
from penstock.model import Resources
from penstock.stack.document import decode
from penstock.stack.fetch import read
from penstock.stack.load import read_stack
from penstock.stack.write import NewFunction, appended, new_file
from penstock.templates.model import Template

DEFAULT_FILE = "stack.yaml"
IGNORE_FILE = ".gitignore"
IGNORED = ("template", "build", ".secrets")
"""What git should leave out: pulled templates, contexts of builds, secrets for local runs (contract watchdog-cli §4.3)."""

_PREFIX = re.compile(r"[a-z0-9]+(?:[._:/-]+[a-z0-9_]+)*/?", re.ASCII)


class Beginning(msgspec.Struct, frozen=True, kw_only=True):
    """What `new` was asked for."""

    name: str
    file: str = DEFAULT_FILE
    """Of the stack file, seen from the directory."""
    append: bool = False
    """Whether the file exists and gets one more function."""
    handler: str = ""
    """Folder of the source; empty: the name."""
    prefix: str = ""
    """Of the image: a registry, an owner, or both."""
    gateway: str = "http://127.0.0.1:8080"
    requests: Resources = Resources()
    limits: Resources = Resources()


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What there is now."""

    function: NewFunction
    folder: str
    """Of the source; empty for a template that needs none."""
    file: str
    appended: bool
    """Whether the file was there."""


def check(wish: Beginning, directory: Path) -> None:
    """Raises for what cannot be begun with any template: InvalidInput, AlreadyExists, NotFound."""
    check_function_name(wish.name, "NAME")
    file = directory / wish.file
    if not wish.file.endswith((".yaml", ".yml")) or "://" in wish.file or not wish.file.isprintable():
        raise InvalidInput(f"{wish.file!r} cannot be a stack file; its name ends with .yaml or .yml")
    if wish.append and not file.is_file():
        raise NotFound(f"{wish.file}: there is no such file to append to; without --append it is made")
    if not wish.append and file.exists():
        raise AlreadyExists(
            f"{wish.file} exists; add the function to it with --append {wish.file}, or name another with --yaml"
        )
    if wish.prefix and not _PREFIX.fullmatch(wish.prefix):
        raise InvalidInput(
            f"prefix: {wish.prefix!r} cannot begin an image's name; write it in lower case, as registry.example.com/team"
        )
    _folder(wish, directory)


def begin(wish: Beginning, template: Template, lang: str, directory: Path) -> Begun:
    """Write the folder, the stack file and .gitignore. `lang` is the template as the stack file names it.

    Raises what `check` raises, what reading and growing the stack file raise, and OSError; then nothing is left but perhaps lines in
    .gitignore.
    """
    check(wish, directory)
    folder = _folder(wish, directory) if template.needs_source else None
    function = NewFunction(
        name=wish.name,
        lang=lang,
        handler=_written(wish) if folder else "",
        image=f"{wish.prefix.rstrip('/')}/{wish.name}:latest" if wish.prefix else f"{wish.name}:latest",
        fprocess="" if folder else template.fprocess,
        requests=wish.requests,
        limits=wish.limits,
    )
    text = _text(wish, function, directory)
    parents = _missing_parents(folder) if folder else []
    try:
        if folder:
            _copy(template.starter, folder)
        ignore(directory)
        _replace(directory / wish.file, text)
    except BaseException:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        for parent in parents:
            parent.rmdir()
        raise
    return Begun(function=function, folder=function.handler, file=wish.file, appended=wish.append)


def ignore(directory: Path) -> None:
    """Add what git should leave out to .gitignore, as far as it is not there."""
    file = directory / IGNORE_FILE
    text = file.read_text(encoding="utf-8", errors="surrogateescape") if file.is_file() else ""
    present = {line.strip().strip("/") for line in text.splitlines()}
    missing = [name for name in IGNORED if name not in present]
    if missing:
        gap = "" if not text or text.endswith("\n") else "\n"
        _replace(file, text + gap + "".join(f"{name}\n" for name in missing))


def _folder(wish: Beginning, directory: Path) -> Path:
    text = wish.handler or wish.name
    if not text.isprintable() or text.startswith("-"):
        raise InvalidInput(f"handler: {text!r} cannot be a folder")
    folder = directory / text
    if folder.exists() or folder.is_symlink():
        raise AlreadyExists(f"folder {text} exists; choose another name, or another folder with --handler")
    return folder


def _written(wish: Beginning) -> str:
    """The handler as the stack file has it."""
    text = wish.handler or wish.name
    return text if text.startswith(("/", "./", "../")) else f"./{text}"


def _text(wish: Beginning, function: NewFunction, directory: Path) -> str:
    """The stack file's text, once it has been read again and found to be one."""
    if wish.append:
        return appended(decode(read(directory / wish.file, wish.file), wish.file), function, wish.file)
    text = new_file(function, wish.gateway)
    read_stack(text, wish.file, None, directory)
    return text


def _missing_parents(folder: Path) -> list[Path]:
    """Folders that will be made above it, the lowest first."""
    return [parent for parent in folder.parents if not parent.exists()]


def _copy(starter: Path, folder: Path) -> None:
    """Copy beside the place, then take it: a folder that is there is whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as beside:
        fresh = Path(beside, "new")
        shutil.copytree(starter, fresh, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
        fresh.rename(folder)


def _replace(file: Path, text: str) -> None:
    """Write a file whole; one that is there keeps its mode, and one that is a link stays one."""
    target = file.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
        fresh = Path(beside, "new")
        fresh.write_text(text, encoding="utf-8", errors="surrogateescape")
        if target.exists():
            shutil.copymode(target, fresh)
        fresh.rename(target)
