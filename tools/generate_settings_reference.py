"""Writes docs/reference/settings.md from the source of `penstock.settings`, whose field docstrings are the reference.

Run as `python -m tools.generate_settings_reference`; a unit test fails when the page is not what this would write.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from penstock.settings import ServeSettings, StorageSettings, WireSettings

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "settings.md"

KINDS = {"int": "whole number", "float": "duration", "bool": "`true` or `false`", "str": "text", "Path": "path"}
"""How a field's type is written in the environment."""

CITATION = re.compile(r" \(contract [^)]*\)")
"""Where a developer looks a rule up; of no use to who sets a variable."""

HEAD = """\
# Settings

<!-- Written by tools/generate_settings_reference.py from settings.py, wiresettings.py and storagesettings.py. Change those. -->

`penstock serve` reads these environment variables; a flag of the same name on the command line (see [cli](cli.md)) wins over
its variable. All faults are reported together, and nothing starts. A duration is a number of seconds (`30`) or Go's syntax
(`1m30s`, `500ms`). What a single function is told (time limits, requests at once) is in its labels and environment: see
[limits](../how-to/limits-and-sandbox.md).
"""

STORAGE = """\
An S3-compatible store. Sizes in bytes, times in seconds. The same variables are read by `penstock storage`. The keys come from
`PENSTOCK_S3_ACCESS_KEY` and `PENSTOCK_S3_SECRET_KEY`, else from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, where they are
temporary, `AWS_SESSION_TOKEN`; functions never see them. See [object storage](../how-to/object-storage.md).
"""


def described(group: type[Any]) -> Iterator[tuple[Field[Any], str]]:
    """Each field of a settings class with the docstring below it. Raises ValueError for a field without one."""
    body = ast.parse(textwrap.dedent(inspect.getsource(group))).body[0]
    assert isinstance(body, ast.ClassDef)
    prose: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = following.value if isinstance(following, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                prose[statement.target.id] = CITATION.sub("", " ".join(text.value.split()))
    for item in fields(group):
        if str(item.type) in KINDS:
            if item.name not in prose:
                raise ValueError(f"{group.__name__}.{item.name} has no docstring")
            yield item, prose[item.name]


def default_of(item: Field[Any]) -> str:
    if item.default is MISSING:
        return "`~/.penstock`" if item.name == "home" else ""
    if isinstance(item.default, bool):
        return f"`{str(item.default).lower()}`"
    if isinstance(item.default, float):
        return f"`{item.default:g}s`"
    if item.default == 0 or not isinstance(item.default, int):
        return f"`{item.default}`"
    return f"`{item.default}`" + (f" ({item.default >> 10} KiB)" if item.default % 1024 == 0 else "")


def table(group: type[Any], prefix: str) -> str:
    rows = ["| variable | value | default | meaning |", "|---|---|---|---|"]
    for item, prose in described(group):
        rows.append(f"| `{prefix}{item.name.upper()}` | {KINDS[str(item.type)]} | {default_of(item)} | {prose} |")
    return "\n".join(rows) + "\n"


def render() -> str:
    sections = [
        HEAD,
        "## What is served\n",
        table(ServeSettings, "PENSTOCK_"),
        "## Limits of the HTTP server\n",
        " ".join((inspect.getdoc(WireSettings) or "").split()) + "\n",
        table(WireSettings, "PENSTOCK_WIRE_"),
        "## Object storage\n",
        STORAGE,
        table(StorageSettings, "PENSTOCK_S3_"),
    ]
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render())
