"""A look at the syntax of scripts before they are deployed: better the interpreter's words now than a replica that falls over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from penstock.builders.native.work import Work
from penstock.errors import BuildFailed


def check_each(work: Work, command: Sequence[str], suffixes: tuple[str, ...]) -> None:
    """Run the command on each script directly in the handler's folder. Raises BuildFailed with the paths as the user knows them."""
    for file in scripts(work, suffixes):
        check_file(work, command, file)


def scripts(work: Work, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The scripts directly in the handler's folder, by name."""
    for file in sorted(work.function.iterdir()):
        if file.suffix in suffixes and file.is_file() and not file.is_symlink():
            yield file


def check_file(work: Work, command: Sequence[str], file: Path) -> None:
    """Run the command on one script. Raises BuildFailed."""
    try:
        work.run([*command, file.name])
    except BuildFailed as error:
        raise BuildFailed(f"{work.shown}/{file.name} cannot be compiled", error.words) from error
