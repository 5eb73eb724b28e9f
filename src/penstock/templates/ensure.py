"""Sees to it that the templates of a stack are there before they are needed: in `./template`, or among the shipped ones.

Called by the verbs that build, by `template pull stack` and by `new`. Goes to the network for what is missing only.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.errors import InvalidInput, NotFound
from penstock.stack.model import Stack
from penstock.templates.catalogue import find_template, is_pulled
from penstock.templates.read import check_ref, check_template_name
from penstock.templates.repository import Wanted, pull
from penstock.templates.source import Source, parse_source
from penstock.templates.templatestore import Store, find, read_store

Progress = Callable[[str], None]
"""Told in a few words what is being done."""


def ensure_templates(
    stack: Stack,
    directory: Path,
    progress: Progress,
    environ: Mapping[str, str] = os.environ,
    *,
    native: bool = False,
) -> None:
    """Pull what functions of the stack need and `find_template` would not find.

    A source that `configuration.templates` names is preferred to a shipped template of the same name, unless `native` asks for what
    runs without a container. Raises as `repository.pull`, and NotFound for a template that nobody has.
    """
    sources = {entry.name: entry.source for entry in stack.templates}
    for function in stack.functions:
        if function.lang and function.lang.lower() != "dockerfile":
            try:
                _ensure(function.lang, sources.get(function.lang), directory, progress, environ, native)
            except (NotFound, InvalidInput) as error:
                raise type(error)(f"{function.lang_where}: function {function.name!r}: {error}") from error


def pull_configured(
    stack: Stack, directory: Path, progress: Progress, environ: Mapping[str, str], *, overwrite: bool
) -> tuple[str, ...]:
    """Pull everything that `configuration.templates` lists; the names."""
    names: list[str] = []
    for entry in stack.templates:
        if entry.source:
            source: Source | None = parse_source(entry.source, directory)
        else:
            source = _of_store(read_store("", environ), entry.name, directory)
        if source is None:
            progress(f"{entry.name}: is one of Penstock's own, and the store has no other")
            continue
        progress(f"{entry.name}: pulling from {source.shown}")
        names += _pull_as(entry.name, source, directory, environ, overwrite)
    return tuple(names)


def fetch_template(name: str, directory: Path, progress: Progress, environ: Mapping[str, str]) -> None:
    """Pull one template, perhaps with `@ref`, that is neither in `directory/template` nor shipped. Raises NotFound."""
    _ensure(name, None, directory, progress, environ, native=False)


def _ensure(
    name: str, given: str | None, directory: Path, progress: Progress, environ: Mapping[str, str], native: bool
) -> None:
    if is_pulled(name, directory):
        return
    missing = _missing(name, directory, native) if native or not given else ""
    if missing is None:
        return
    if given:
        source: Source | None = parse_source(given, directory)
    else:
        store = read_store("", environ)
        if store.unreachable:
            raise NotFound(f"{missing}; the template store cannot be asked: {store.unreachable}")
        source = _of_store(store, name, directory)
    if source is None:
        raise NotFound(missing)
    progress(f"{name}: pulling from {source.shown}")
    _pull_as(name, source, directory, environ, overwrite=True)


def _missing(name: str, directory: Path, native: bool) -> str | None:
    """What is said of a template that is not here; None when it is."""
    try:
        find_template(name, directory, native=native)
    except NotFound as error:
        return str(error)
    return None


def _of_store(store: Store, name: str, directory: Path) -> Source | None:
    """The repository of a template, perhaps with `@ref`; None for one of our own. Raises NotFound."""
    base, _, ref = check_template_name(name).partition("@")
    entry = find(store, base)
    if not entry.source:
        return None
    source = parse_source(entry.source, directory)
    return Source(source.url, check_ref(ref)) if ref else source


def _pull_as(
    name: str, source: Source, directory: Path, environ: Mapping[str, str], overwrite: bool
) -> tuple[str, ...]:
    """Pull the one template, whose folder gets the name that the stack file uses."""
    base = check_template_name(name).partition("@")[0]
    return pull(source, directory, environ, Wanted(template=base, name=name, overwrite=overwrite))
