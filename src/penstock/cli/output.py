"""How results look: JSON, tables on a terminal, plain aligned columns everywhere else.

Used by the reading verbs. Piped output is stable and without colour; `NO_COLOR` is honoured on terminals as well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

_LAST_ASCII_CONTROL = "\x1f"


def print_json(value: object) -> None:
    """`value` as indented JSON, one document."""
    import click  # late, as msgspec: what prints plain columns does without
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_columns(headings: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> None:
    """A table; in a pipe with tabs between left-aligned columns of at least `widths` characters, as faas-cli prints them."""
    if sys.stdout is not None and sys.stdout.isatty():
        _print_pretty(headings, rows)
        return
    for row in (headings, *rows):
        print("\t".join(printable(cell).ljust(width) for cell, width in zip(row, widths, strict=True)))


def print_fields(fields: Sequence[tuple[str, str]]) -> None:
    """`Key: value` lines with the values aligned; lines of one value below each other."""
    import click

    width = max((len(key) for key, _ in fields), default=0) + 1
    for key, value in fields:
        head = click.style(f"{key}:".ljust(width), bold=True)
        for number, line in enumerate(value.split("\n")):
            click.echo(f"{head if number == 0 else ' ' * width} {printable(line)}")


@contextmanager
def spinner(text: str) -> Iterator[Callable[[str], None]]:
    """Show that something is being waited for, on stderr and only when that is a terminal; what it gives takes another text."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(text)) as status:
        yield lambda text: status.update(Text(printable(text)))


def printable(text: str) -> str:
    """Text from a gateway without characters that would steer the terminal, or that no terminal can be sent."""
    if text.isprintable():
        return text
    return "".join(
        "\ufffd" if char <= _LAST_ASCII_CONTROL or char == "\x7f" or _is_half(char) else char for char in text
    )


def _is_half(char: str) -> bool:
    """Whether it is one half of a surrogate pair, which JSON can write and UTF-8 cannot."""
    return "\ud800" <= char <= "\udfff"


def _print_pretty(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="" if os.environ.get("NO_COLOR") else "bold", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console().print(table)
