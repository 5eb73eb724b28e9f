"""The native builder: a function becomes a folder that runs on this machine, found again by what went into it.

Chosen by `choose` for the process provider. The folder is assembled as for a container; a toolchain does the rest; what the
template's `native` says is filled in with the paths that came of it.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import msgspec

from penstock.builders.context import handler_path, sources
from penstock.builders.model import BuildRequest, Built, Progress
from penstock.builders.native import bash, go, java, latest, node, none, php, python, ruby
from penstock.builders.native.store import Record, Store, builds_root, content
from penstock.builders.native.work import Places, Toolchain, Work, find_tool, key_of
from penstock.builders.plan import PACKAGES
from penstock.builders.program import Programs
from penstock.builders.tree import Check, Tree, copy, digest, walk
from penstock.errors import BuildFailed, InvalidInput, NotSupported
from penstock.storage.handover import without
from penstock.templates.model import Native

_TOOLCHAINS: Mapping[str, Toolchain | ModuleType] = {
    "python": python, "node": node, "go": go, "java": java, "ruby": ruby, "php": php, "bash": bash,
    "none": none,
}  # fmt: skip
_ATTEMPTS = 5
"""Times that sources are read anew when they change while they are copied."""


class NativeBuilder:
    """See `penstock.builders.model.Builder`. May be used by several threads, and by several processes at once."""

    name = "native"
    makes_images = False

    def __init__(self, environ: Mapping[str, str], root: Path | None = None) -> None:
        # What packages run when they are installed is other people's code, and native builds run it as whoever builds.
        self._environ = without(environ)
        self._programs = Programs()
        self._store = Store(root or builds_root(environ), self._programs.mark)
        self._cancelled = False

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        """Build it, or find it as it was built before."""
        started = time.monotonic()
        native = _native(request)
        if not set(str(self._store.root)).isdisjoint(" :"):
            raise InvalidInput(
                f"builds cannot be kept in {str(self._store.root)!r}: program lines and search paths have no way to say a space or"
                " a colon; set PENSTOCK_BUILDS to another folder"
            )
        if native.program:
            find_tool(native.program, native.package or native.program, self._environ, "runs the function")
        if packages := request.build_args.get(PACKAGES):
            progress(f"not installed, since a native build takes what this machine has: {packages}")
        for _ in range(_ATTEMPTS):
            with self._store.room():
                built = self._attempt(request, native, progress)
            if built is not None:
                folder, record, cached = built
                return _built(request, folder, record, cached, time.monotonic() - started)
        raise BuildFailed(
            f"the files of {request.function.handler!r} change all the time; build again when they are at rest"
        )

    def locate(self, request: BuildRequest) -> Built | None:
        """The build of exactly these sources, if there is one."""
        key = self._read(request, _native(request)).key
        found = self._store.find(self._store.function(request.function.name), key)
        return _built(request, *found, cached=True, seconds=0.0) if found else None

    def latest(self, request: BuildRequest) -> Built | None:
        """The last build of this function of this stack file, whatever flags it had, if its sources are still the same;
        else what `locate` finds."""
        known = latest.read(self._store.root, request)
        if known is None:
            return self.locate(request)
        same = msgspec.structs.replace(request, copy=tuple(Path(path) for path in known.copy))
        if self._read(same, _native(same)).plain != known.sources:
            return self.locate(request)
        found = self._store.find(self._store.function(request.function.name), known.build)
        return _built(request, *found, cached=True, seconds=0.0) if found else None

    def cancel(self) -> None:
        """See `penstock.builders.model.Builder`."""
        self._cancelled = True
        self._programs.cancel()

    def _check(self) -> None:
        if self._cancelled:
            raise BuildFailed("the build was cancelled")

    def _attempt(self, request: BuildRequest, native: Native, progress: Progress) -> tuple[Path, Record, bool] | None:
        """Folder, record and whether it was there already; None when the sources have changed meanwhile."""
        source = self._read(request, native)
        parent = self._store.function(request.function.name)

        def waiting() -> None:
            self._check()
            progress("waiting for another build of it")

        def fill(folder: Path) -> Record:
            _copy(source, folder, self._check)
            with self._store.temporary(parent) as temporary:
                work = Work(
                    build=folder,
                    function=folder / handler_path(request),
                    shown=request.function.handler.rstrip("/"),
                    digest=source.key,
                    programs=self._programs,
                    progress=progress,
                    environ={**self._environ, **_arguments(request), "TMPDIR": str(temporary)},
                    store=self._store,
                    again=request.no_cache,
                    waiting=waiting,
                )
                places = _TOOLCHAINS[native.toolchain].make(work)
            return _record(native, _program(request, native), work, places)

        with self._store.locked(parent, waiting):
            found = None if request.no_cache else self._store.find(parent, source.key)
            try:
                folder, record = found or self._store.make(parent, source.key, fill)
            except _Changed:
                return None
            self._store.touch(folder)
            self._store.prune(parent)
            copied = tuple(str(path) for path in request.copy)
            latest.write(self._store.root, request, latest.Latest(build=folder.name, sources=source.plain, copy=copied))
        return folder, record, found is not None

    def _read(self, request: BuildRequest, native: Native) -> _Source:
        tree = sources(request, keep_out=self._store.root)
        content = digest(tree, self._check)
        identity = _TOOLCHAINS[native.toolchain].identity(self._environ)

        def key(arguments: Mapping[str, str]) -> str:
            words = (part for pair in sorted(arguments.items()) for part in pair)
            return key_of(content, identity, native.toolchain, *words)[:40]

        return _Source(tree, content, key(_arguments(request)), key(_arguments_of_file(request)))


class _Source(NamedTuple):
    """What a build is made of."""

    tree: Tree
    content: str
    """Digest of the tree as it was read."""
    key: str
    """Of the content and of all else that makes a difference."""
    plain: str
    """The same without the build arguments of flags."""


class _Changed(Exception):
    """What was copied is not what had been read before."""


def _native(request: BuildRequest) -> Native:
    function, template = request.function, request.template
    here = f"{function.where}: function {function.name!r}"
    if template is None:
        raise NotSupported(
            f"{here}: a Dockerfile is built by docker or buildah (--builder), not for running without a container"
        )
    if template.native is None:
        raise NotSupported(
            f"{here}: template {template.name!r} is made for containers, and {template.folder / 'template.yml'} does not say how"
            " its functions run without one; build it by docker or buildah (--builder), or use a template of Penstock's own"
        )
    return template.native


def _arguments(request: BuildRequest) -> dict[str, str]:
    """Build arguments, which a Dockerfile would see as variables; so do native tools."""
    return {name: value for name, value in request.build_args.items() if name != PACKAGES}


def _arguments_of_file(request: BuildRequest) -> dict[str, str]:
    """Those of `_arguments` that the stack file has, with its own values."""
    return {name: value for name, value in request.function.build_args.items() if name != PACKAGES}


def _copy(source: _Source, folder: Path, check: Check) -> None:
    """Copy what was read. Raises _Changed when it is not the same any more."""
    try:
        copy(source.tree, folder, check)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            raise _Changed from error
        raise
    if digest({entry.path: entry for entry in walk(folder, what="copy")}, check) != source.content:
        raise _Changed


def _program(request: BuildRequest, native: Native) -> str:
    """The program line; where no toolchain is at work, that of the template's containers will do."""
    if native.fprocess or native.toolchain != "none" or request.template is None:
        return native.fprocess
    return request.template.fprocess


def _record(native: Native, fprocess: str, work: Work, places: Places) -> Record:
    known = {
        "{build}": str(work.build),
        "{function}": str(work.function),
        "{python}": places.python,
        "{site}": places.site,
    }

    def filled(text: str) -> str:
        for name, value in known.items():
            text = text.replace(name, value)
        return text

    environment = {name: filled(value) for name, value in native.environment.items()}
    return Record(
        fprocess=filled(fprocess),
        environment={name: value for name, value in environment.items() if value},
        uses=places.uses,
        needs=content(work.build),
    )


def _built(request: BuildRequest, folder: Path, record: Record, cached: bool, seconds: float) -> Built:
    return Built(
        function=request.function.name,
        folder=folder,
        fprocess=record.fprocess,
        environment=record.environment,
        cached=cached,
        seconds=seconds,
    )
