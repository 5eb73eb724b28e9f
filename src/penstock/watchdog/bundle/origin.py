"""What a bundle is made from, as one short word: the same as long as a bundle made now would be the same.

Called by who keeps bundles. Only reads: our own modules are found by what they mention, which is quicker than to import them as
`collect` does, and never fewer.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import penstock
from penstock.watchdog.bundle.trace import WATCHDOG

_ROOT = Path(penstock.__file__).parents[1]


def digest(root: Path = _ROOT) -> str:
    """Of this interpreter, of those of our modules in `root` that a bundle has or is made by, and of what is installed beside
    them. Other parts of Penstock may change without another bundle. Raises OSError."""
    found = hashlib.sha256(f"{sys.version}\0{os.uname().machine}".encode())
    for path in sources(root):
        found.update(f"\0{path.relative_to(root)}\0".encode() + path.read_bytes())
    installed = sorted(f"{one.name} {one.version}" for one in importlib.metadata.distributions())
    found.update("\n".join(installed).encode())
    return found.hexdigest()[:12]


def sources(root: Path) -> list[Path]:
    """The watchdog's files, those by which its bundle is made, and the modules of ours that any of them mentions, late or early."""
    room = root.joinpath(*WATCHDOG.root.split("."))
    waiting = [path for path in room.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    found = set(waiting)
    while waiting:
        path = waiting.pop()
        if path.suffix != ".py":
            continue
        fresh = {file for name in _mentioned(path.read_bytes()) for file in _files(root, name)} - found
        found |= fresh
        waiting += fresh
    return sorted(found)


def _mentioned(source: bytes) -> Iterator[str]:
    """What a source file imports anywhere; of what it takes from a package any may be a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _files(root: Path, name: str) -> Iterator[Path]:
    """Those of a module of ours, and of the packages that it is in."""
    parts = name.split(".")
    if parts[0] != penstock.__name__:
        return
    for count in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:count])
        yield from (path for path in (place / "__init__.py", place.with_name(f"{place.name}.py")) if path.is_file())
