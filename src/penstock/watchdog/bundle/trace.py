"""Finds out what the watchdog, or all of Penstock, imports, by importing it: run as a program, in a process of its own.

`collect` starts it with the interpreter and the search path that the bundle is made from, and the scope as JSON on stdin. The
list goes to stdout as JSON: name, file of every module that is there once all of the scope has been imported, and every module
that it mentions inside of functions as well.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """What of ours a bundle is made of."""

    root: str
    """The package of which every module is imported."""
    rooms: tuple[str, ...]
    """Where late imports are looked for: of what lies below the others, not every function is used."""
    left_out: tuple[str, ...] = ()
    """Packages that do not belong to it."""
    optional: tuple[str, ...] = ()
    """Packages of others that may be missing, and with them what needs them."""
    late: tuple[str, ...] = ()
    """Those of others that libraries import inside of their functions, which nothing tells."""


WATCHDOG = Scope("penstock.watchdog", ("penstock.watchdog", "penstock.wire"), ("penstock.watchdog.bundle",))
"""A bundle does not make bundles."""


def own_modules(package: str, left_out: tuple[str, ...]) -> Iterator[str]:
    """The package's modules. Unlike walk_packages this does not import what is left out in order to look below it."""
    yield package
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if module.name in left_out:
            continue
        if module.ispkg:
            yield from own_modules(module.name, left_out)
        else:
            yield module.name


def mentioned(source: bytes) -> Iterator[str]:
    """Modules that a source file imports anywhere."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def import_all(names: Iterable[str], scope: Scope) -> None:
    """Import these modules, then what functions of the rooms import late. Raises ModuleNotFoundError."""
    waiting = list(names)
    seen = set(waiting)
    while waiting:
        file = _imported(waiting.pop(), scope)
        if not file:
            continue
        with open(file, "rb") as opened:
            late = {name for name in mentioned(opened.read()) if not name.startswith(scope.left_out)}
        waiting += sorted(late - seen)
        seen |= late


def _imported(name: str, scope: Scope) -> str:
    """The module's file; none for one outside of the rooms, and for one that needs what is optional and missing."""
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in scope.optional:
            raise
        return ""
    return (getattr(module, "__file__", None) or "") if module.__name__.startswith(scope.rooms) else ""


def main() -> None:
    given = json.load(sys.stdin)
    sys.path[:] = given["path"]
    scope = Scope(given["root"], *(tuple(given[name]) for name in ("rooms", "left_out", "optional", "late")))
    names = list(own_modules(scope.root, scope.left_out))
    programs = [name for name in names if name.endswith(".__main__")]  # to import one is to run it
    import_all([*(name for name in names if name not in programs), *scope.late], scope)
    specs = {name: importlib.util.find_spec(name) for name in programs}
    found = {name: spec.origin for name, spec in specs.items() if spec}
    found.update({name: getattr(module, "__file__", None) for name, module in sys.modules.items()})
    json.dump(sorted((name, file) for name, file in found.items() if isinstance(file, str)), sys.stdout)


if __name__ == "__main__":
    main()
