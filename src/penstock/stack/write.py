"""Writes functions into stack files: a new file, or one more function in a file whose text stays as its author wrote it.

Called by the verb `new`. Works on text and leaves files to the verb.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import yaml

from penstock.errors import AlreadyExists, InvalidInput
from penstock.model import Resources
from penstock.stack.load import read_stack
from penstock.stack.yamltext import scalar

_FOUNDATION = """version: 1.0
provider:
  name: openfaas
  gateway: {gateway}
functions:
"""


class NewFunction(msgspec.Struct, frozen=True, kw_only=True):
    """What `new` knows about a function; what is empty is not written."""

    name: str
    lang: str
    handler: str = ""
    image: str = ""
    fprocess: str = ""
    requests: Resources = Resources()
    limits: Resources = Resources()


def new_file(function: NewFunction, gateway: str) -> str:
    """A stack file with one function."""
    return _FOUNDATION.format(gateway=scalar(gateway)) + _entry(function, "  ")


def appended(text: str, function: NewFunction, file: str) -> str:
    """`text`, a stack file, with one more function at the end of its `functions`; everything else is kept to the byte.

    Raises AlreadyExists for a name that is taken, InvalidInput for a file that cannot be read or whose `functions` are written
    in one line.
    """
    for present in read_stack(text, file, None, Path()).functions:
        if present.name == function.name:
            raise AlreadyExists(f"{present.where}: there is a function {function.name!r} already")
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\n", "\r")):
        lines[-1] += "\n"
    at, indent = _place(text, lines, file)
    grown = "".join([*lines[:at], _entry(function, indent), *lines[at:]])
    if function.name not in [present.name for present in read_stack(grown, file, None, Path()).functions]:
        raise InvalidInput(
            f"{file}: its `functions` are written in a way that cannot be added to; add {function.name!r} by hand"
        )
    return grown


def _place(text: str, lines: list[str], file: str) -> tuple[int, str]:
    """Behind which line a function goes, and how far it is indented."""
    root = yaml.compose(text, yaml.SafeLoader)
    found = [pair for pair in root.value if pair[0].value == "functions"] if isinstance(root, yaml.MappingNode) else []
    if not found:
        lines.append("functions:\n")
        return len(lines), "  "
    key, functions = found[0]
    if not isinstance(functions, yaml.MappingNode):
        return key.end_mark.line + 1, "  "
    if functions.flow_style or not functions.value:
        line = functions.start_mark.line + 1
        raise InvalidInput(
            f"{file}:{line}: `functions` in braces cannot be added to; write each function on a line of its own"
        )
    last = max(_last_lines(functions))
    while not lines[last].strip():
        last -= 1
    return last + 1, " " * int(functions.value[0][0].start_mark.column)


def _last_lines(node: yaml.Node) -> Iterator[int]:
    """Lines, from 0, on which the values below a node end."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key.end_mark.line
            yield from _last_lines(value)
    elif isinstance(node, yaml.SequenceNode) and not node.flow_style:
        for item in node.value:
            yield from _last_lines(item)
    else:
        block = isinstance(node, yaml.ScalarNode) and node.style in ("|", ">")
        yield node.end_mark.line - 1 if block and node.end_mark.column == 0 else node.end_mark.line
    if isinstance(node, yaml.CollectionNode) and node.flow_style:
        yield node.end_mark.line


def _entry(function: NewFunction, indent: str) -> str:
    step = indent or "  "
    lines = [f"{scalar(function.name)}:"]
    for key in ("lang", "handler", "image", "fprocess"):
        if value := getattr(function, key):
            lines.append(f"{step}{key}: {scalar(value)}")
    for key, resources in (("requests", function.requests), ("limits", function.limits)):
        if resources:
            lines.append(f"{step}{key}:")
            pairs = (("memory", resources.memory), ("cpu", resources.cpu))
            lines += [f"{step}{step}{name}: {scalar(text)}" for name, text in pairs if text]
    return "".join(f"{indent}{line}\n" for line in lines)
