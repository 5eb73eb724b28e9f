"""Node: packages by `npm ci` where there is a lock, else by `npm install`; shared by all builds with the same lists."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.builders.native.checks import check_each
from penstock.builders.native.work import Places, Work, find_tool, identity_of, key_of
from penstock.errors import BuildFailed, InvalidInput

_LOCKS = ("npm-shrinkwrap.json", "package-lock.json")
_SCRIPTS = ("preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare")
"""Scripts of the handler's own that npm runs at an installation; they may want its sources."""
_MODULES = "node_modules"


def identity(environ: Mapping[str, str]) -> str:
    """Modules with native parts are made for one version of node."""
    return identity_of(find_tool("node", "nodejs", environ))


def make(work: Work) -> Places:
    """Check the handler's syntax and see to its packages, and to the template's own."""
    folders = [folder for folder in dict.fromkeys([work.function, work.build]) if (folder / "package.json").is_file()]
    packages = {folder: _read(folder / "package.json", work.shown) for folder in folders}
    check_each(work, [find_tool("node", "nodejs", work.environ), "--check"], (".js", ".cjs", ".mjs"))
    shared = [_packages(work, folder, package) for folder, package in packages.items()]
    return Places(uses=tuple(str(folder) for folder in shared if folder))


def _packages(work: Work, folder: Path, package: dict[str, Any]) -> Path | None:
    """Install what package.json in `folder` asks for; returns the shared folder if it is one."""
    lock = next((name for name in _LOCKS if (folder / name).is_file()), "")
    if not lock and not package.get("dependencies") and not package.get("optionalDependencies"):
        return None
    find_tool("npm", "npm", work.environ, "brings the packages of package.json")
    modules = folder / _MODULES
    if modules.is_dir():
        shutil.rmtree(modules)
    if _needs_sources(package, (folder / lock).read_text() if lock else ""):
        _install(work, folder, lock)
        return None
    files = [name for name in ("package.json", lock, ".npmrc") if name and (folder / name).is_file()]
    key = key_of(identity(work.environ), *(part for name in files for part in (name, (folder / name).read_bytes())))

    def fill(target: Path) -> None:
        for name in files:
            shutil.copyfile(folder / name, target / name)
        _install(work, target, lock)
        (target / _MODULES).mkdir(exist_ok=True)

    shared = work.share(_MODULES, key, fill)
    modules.symlink_to(shared / _MODULES)
    return shared


def _install(work: Work, folder: Path, lock: str) -> None:
    work.progress("npm ci" if lock else "npm install")
    quiet = ("--no-audit", "--no-fund", "--no-update-notifier", "--omit=dev")
    try:
        work.run(["npm", "ci" if lock else "install", *quiet], folder)
    except BuildFailed as error:
        raise BuildFailed(f"{work.shown}: packages cannot be installed: {error}", error.words) from error


def _needs_sources(package: dict[str, Any], lock: str) -> bool:
    """Whether an installation depends on more than package.json and the lock: files beside them, or scripts."""
    wishes = [
        str(wish) for kind in ("dependencies", "optionalDependencies") for wish in (package.get(kind) or {}).values()
    ]
    local = any(wish.startswith(("file:", "link:", ".", "/", "~")) for wish in wishes)
    scripts = package.get("scripts") or {}
    return local or "workspaces" in package or '"file:' in lock or any(name in scripts for name in _SCRIPTS)


def _read(file: Path, shown: str) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text())
    except ValueError as error:
        raise InvalidInput(f"{shown}/package.json is not JSON: {error}") from error
    if not isinstance(document, dict) or not all(
        isinstance(document.get(name) or {}, dict) for name in ("dependencies", "optionalDependencies", "scripts")
    ):
        raise InvalidInput(f"{shown}/package.json: an object of objects is expected, as `npm init` writes it")
    return document
