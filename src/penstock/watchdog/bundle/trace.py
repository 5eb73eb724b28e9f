"""Finds out what the watchdog imports, by importing it: run as a program, in a process of its own.

`collect` starts it with the interpreter and the search path that the bundle is made from. The list goes to stdout as JSON:
name, file of every module that is there once all of the watchdog has been imported, and every module that it mentions inside
of functions as well. The package `penstock.watchdog.bundle` is left out: a bundle does not make bundles.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import pkgutil
import sys
from collections.abc import Iterator

_ROOT = "penstock.watchdog"
_LEFT_OUT = "penstock.watchdog.bundle"
_ROOMS = ("penstock.watchdog", "penstock.wire")
"""Where late imports are looked for: of what lies below them, not every function is used."""


def own_modules(package: str = _ROOT) -> Iterator[str]:
    """The watchdog's modules. Unlike walk_packages this does not import what is left out in order to look below it."""
    yield package
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        if module.name == _LEFT_OUT:
            continue
        if module.ispkg:
            yield from own_modules(module.name)
        else:
            yield module.name


def mentioned(source: bytes) -> Iterator[str]:
    """Modules that a source file imports anywhere."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def import_all() -> None:
    """Import every module of the watchdog, then what their functions import late."""
    waiting = [name for name in own_modules() if not name.endswith(".__main__")]
    seen = set(waiting)
    while waiting:
        module = importlib.import_module(waiting.pop())
        file = getattr(module, "__file__", None)
        if file is None or not module.__name__.startswith(_ROOMS):
            continue
        with open(file, "rb") as opened:
            late = {name for name in mentioned(opened.read()) if not name.startswith(_LEFT_OUT)}
        waiting += sorted(late - seen)
        seen |= late


def main() -> None:
    sys.path[:] = json.load(sys.stdin)
    import_all()
    spec = importlib.util.find_spec(f"{_ROOT}.__main__")
    found = {f"{_ROOT}.__main__": spec.origin if spec else None}
    found.update({name: getattr(module, "__file__", None) for name, module in sys.modules.items()})
    json.dump(sorted((name, file) for name, file in found.items() if isinstance(file, str)), sys.stdout)


if __name__ == "__main__":
    main()
