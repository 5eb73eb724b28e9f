"""PHP: what composer.json asks for is put beside the handler by composer; without one there is nothing to do."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.builders.native.checks import check_each
from penstock.builders.native.work import Places, Work, find_tool, identity_of


def identity(environ: Mapping[str, str]) -> str:
    """Composer chooses packages by the version of php."""
    return identity_of(find_tool("php", "php-cli", environ))


def make(work: Work) -> Places:
    """Check the handler's syntax and see to its packages."""
    check_each(work, [find_tool("php", "php-cli", work.environ), "-l"], (".php",))
    if (work.function / "composer.json").is_file():
        composer = find_tool("composer", "composer", work.environ, "brings the packages of composer.json")
        work.progress("composer install")
        work.run([composer, "install", "--no-dev", "--no-interaction", "--no-progress", "--optimize-autoloader"])
    return Places()
