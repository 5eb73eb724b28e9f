"""Build requests for tests: a handler's folder below the current directory, and a small template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.builders.model import BuildRequest
from penstock.stack.model import Position, StackFunction
from penstock.templates.model import Native, Template


def write(root: Path, files: dict[str, str]) -> Path:
    """Files by their paths below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def template(folder: Path, native: Native | None = None, **fields: Any) -> Template:
    return Template(name=folder.name, folder=folder, native=native, **fields)


def request(chosen: Template | None, name: str = "fn", handler: str = "fn", **fields: Any) -> BuildRequest:
    lang = chosen.name if chosen else "dockerfile"
    function = StackFunction(name=name, where=Position("stack.yml", 3), lang=lang, handler=handler)
    return BuildRequest(function=function, template=chosen, **fields)
