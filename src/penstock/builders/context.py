"""The folder that a build begins with: a template, the handler laid over it, and what `copy` adds (contract watchdog-cli §4.4).

Container builders assemble it in `./build/<function>`, which may be looked at and built by other means (`--shrinkwrap`);
native builds assemble it where they keep their results.
"""

from __future__ import annotations

import difflib
import os
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

from penstock.builders.model import BuildRequest
from penstock.builders.tree import Check, Tree, copy, file_entry, go_on, overlay, place, walk
from penstock.errors import InvalidInput
from penstock.templates.model import MANIFESTS

BUILD_FOLDER = "build"
"""Below the current directory."""
_NOT_OF_THE_HANDLER = ("build", "template")
"""Folders that lie in a handler's folder when that is the current directory."""
_TAKEN_DOWN = "meta.json"
"""Notes of a template's origin, with the time: no part of what is built."""


def context_folder(function: str) -> Path:
    """Where the context of a container build is assembled."""
    return Path.cwd() / BUILD_FOLDER / function


def assemble(request: BuildRequest, check: Check = go_on) -> Path:
    """Wipe `./build/<function>` and make it anew, only for the user's own eyes; returns it, absolute.

    With a template, the handler is in its `handler_folder`; without one, for `lang: dockerfile`, the handler is the root. A
    template that brings no such folder can do without a handler.
    Raises InvalidInput for what cannot be copied, before anything is wiped; OSError, and what `check` raises.
    """
    folder = context_folder(request.function.name)
    tree = sources(request, keep_out=folder.parent)
    if folder.is_symlink() or folder.parent.is_symlink():
        raise InvalidInput(f"{str(folder)!r} is a link, or lies behind one; a build wipes it, so it must be a folder")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(mode=0o700, parents=True)
    copy(tree, folder, check)
    return folder


def sources(request: BuildRequest, *, keep_out: Path) -> Tree:
    """Everything that the build's folder will hold. `keep_out` is where builds are made. Raises InvalidInput."""
    function, template = request.function, request.template
    here = f"{function.where}: function {function.name!r}"
    tree: Tree = {}
    if template is not None:
        overlay(tree, "", walk(template.folder, what=f"template {template.name!r}", keep_out=keep_out))
        tree.pop(_TAKEN_DOWN, None)
    root = handler_path(request)
    if template is not None and template.shipped:
        _take_out_example(tree, root)
    if function.handler or template is None or (template.folder / root).is_dir():
        handler = _handler(request, here)
        overlay(tree, root, walk(handler, what=f"{here}: handler", skip=_NOT_OF_THE_HANDLER, keep_out=keep_out))
    for path in request.copy:
        _add(tree, root, path, f"{here}: copy", keep_out)
    _check_needs(request, tree, root, here)
    if template is None and "Dockerfile" not in tree:
        raise InvalidInput(f"{here}: lang dockerfile asks for a Dockerfile in {function.handler!r}")
    return tree


def _take_out_example(tree: Tree, root: str) -> None:
    """Drop what a shipped template has a new function begin with: a test or page that its author has deleted must stay so.

    Other templates may count on their own files, as faas-cli leaves them.
    """
    for path in [path for path in tree if path.startswith(f"{root}/") and path.rpartition("/")[2] not in MANIFESTS]:
        del tree[path]


def _check_needs(request: BuildRequest, tree: Tree, root: str, here: str) -> None:
    """Raises InvalidInput when a file is missing that the template runs or compiles, unless the function runs something else."""
    function, template = request.function, request.template
    if template is None or not function.handler or function.fprocess or "handler" in function.environment:
        return
    start = f"{root}/" if root else ""
    files = sorted(path.removeprefix(start) for path in tree if path.startswith(start) and tree[path].kind != "folder")
    for pattern in template.needs:
        if not any(fnmatchcase(path, pattern) for path in files):
            near = difflib.get_close_matches(pattern, files, n=1, cutoff=0.6)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise InvalidInput(
                f"{here}: there is no {pattern} in {function.handler!r}, which template {template.name!r} needs{hint}"
            )


def handler_path(request: BuildRequest) -> str:
    """The handler's place in the context, relative; empty when it is the root."""
    if request.template is None:
        return ""
    path = os.path.normpath(request.template.handler_folder)
    if os.path.isabs(path) or path.split("/")[0] == "..":
        raise InvalidInput(f"template {request.template.name!r}: handler_folder {path!r} leads out of the template")
    return "" if path == "." else path


def _handler(request: BuildRequest, here: str) -> Path:
    text = request.function.handler
    if not text:
        raise InvalidInput(f"{here}: no handler is given; name the folder of its source with `handler:`")
    handler = Path.cwd() / text
    if not handler.exists():
        raise InvalidInput(f"{here}: handler: there is no folder {text!r} in {str(Path.cwd())!r}")
    if not handler.is_dir():
        raise InvalidInput(f"{here}: handler: {text!r} is a file; name the folder that it is in")
    return handler


def _add(tree: Tree, root: str, path: Path, what: str, keep_out: Path) -> None:
    """One path of `copy`, which keeps its place relative to the current directory."""
    home = os.path.realpath(Path.cwd())
    real = os.path.realpath(path)
    if real != home and not real.startswith(home + os.sep):
        raise InvalidInput(f"{what}: {str(path)!r} is not inside the current directory {home!r}")
    if not os.path.lexists(real):
        raise InvalidInput(f"{what}: there is nothing at {str(path)!r}")
    place_of = os.path.relpath(real, home)
    where = "/".join(part for part in (root, "" if place_of == "." else place_of) if part)
    if os.path.isdir(real):
        overlay(tree, where, walk(Path(real), what=what, keep_out=keep_out))
    else:
        place(tree, where, file_entry(Path(real), where))
