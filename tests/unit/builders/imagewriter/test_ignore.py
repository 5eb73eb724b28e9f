"""Patterns of .dockerignore and of COPY."""

from __future__ import annotations

import pytest

from penstock.builders.imagewriter.ignore import Ignore, glob
from penstock.errors import InvalidInput


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("*.txt", ["a.txt", ".txt"], ["a/b.txt", "a.txt.x"]),
        ("*/temp*", ["a/temp", "b/temporary"], ["temp", "a/b/temp"]),
        ("**/*.go", ["a.go", "a/b/c.go"], ["a.gox"]),
        ("a/**", ["a/b", "a/b/c"], ["a", "b/a/c"]),
        ("a/**/b", ["a/b", "a/x/y/b"], ["a/xb"]),
        ("te?t", ["test", "text"], ["te/t", "tet"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "[a-c]x"]),
        ("[^a]x", ["bx"], ["ax", "/x"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("a*b*c", ["abc", "axbxbxc"], ["ab", "a/bc"]),
        ("a.b", ["a.b"], ["axb"]),
    ],
)
def test_glob(pattern: str, fits: list[str], does_not: list[str]) -> None:
    found = glob(pattern, "here")
    assert [path for path in [*fits, *does_not] if found.fullmatch(path)] == fits


def test_the_last_pattern_that_fits_counts() -> None:
    ignore = Ignore("# comment\n*.md\n!README*.md\nREADME-secret.md\n/node_modules/\n\n")
    paths = ["a.md", "README.md", "README-secret.md", "node_modules", "node_modules/x/y.js", "src/a.md"]
    assert [path for path in paths if ignore.leaves_out(path)] == [
        "a.md", "README-secret.md", "node_modules", "node_modules/x/y.js",
    ]  # fmt: skip


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not glob("*a" * 2000 + "b", "here").fullmatch("a" * 4000)


@pytest.mark.parametrize("pattern", ["[a", "[b-a]", "**/**/**/**/**"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidInput, match=r"^\.dockerignore:1: "):
        Ignore(pattern)
