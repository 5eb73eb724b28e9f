"""Which files a context leaves out: the patterns of .dockerignore, and those of COPY and ADD.

Called by `interpret`. Source: the Dockerfile reference, section .dockerignore file; Go's path.Match with `**` added.
"""

from __future__ import annotations

import posixpath
import re

from penstock.errors import InvalidInput

MOST = 10_000
"""Patterns of a file."""
MOST_DEEP = 4
"""Times that `**` may be in a pattern."""


class Ignore:
    """The patterns of one .dockerignore; the last one that fits counts."""

    def __init__(self, text: str) -> None:
        """Raises InvalidInput for a pattern that means nothing."""
        self._rules: list[tuple[bool, re.Pattern[str]]] = []
        for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
            line = line.strip() if not line.startswith("#") else ""
            if not line:
                continue
            if len(self._rules) == MOST:
                raise InvalidInput(f".dockerignore:{number}: there are more than {MOST} patterns")
            out = not line.startswith("!")
            cleaned = posixpath.normpath("/" + line.removeprefix("!").strip().lstrip("/")).lstrip("/")
            if cleaned:
                self._rules.append((out, glob(cleaned, f".dockerignore:{number}")))

    def leaves_out(self, path: str) -> bool:
        """Whether a path of the context, or a folder that it is in, is left out and not taken in again."""
        parts = path.split("/")
        prefixes = ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]
        result = False
        for out, pattern in self._rules:
            if out != result and any(pattern.fullmatch(prefix) for prefix in prefixes):
                result = out
        return result


def glob(pattern: str, where: str) -> re.Pattern[str]:
    """A pattern for whole paths: `*` and `?` stay inside a folder, `**` does not. Raises InvalidInput, beginning with `where`."""
    if pattern.count("**") > MOST_DEEP:
        raise InvalidInput(f"{where}: {pattern[:60]!r} has more than {MOST_DEEP} times **")
    parts = pattern.split("/")
    out = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            out += ".*" if last else "(?:.*/)?"
        else:
            out += _part(part, where) + ("" if last else "/")
    try:
        return re.compile(out, re.DOTALL)
    except re.error as error:
        raise InvalidInput(f"{where}: {pattern[:60]!r} is no pattern: {error}") from error


def _part(part: str, where: str) -> str:
    """What is between two slashes. Each star but the last takes as little as it can, and never gives it back: with others
    the time that a path takes would be multiplied by each star of a hostile pattern."""
    pieces = [""]
    position = 0
    while position < len(part):
        if part[position] == "*":
            end = position + len(part[position:]) - len(part[position:].lstrip("*"))
            pieces += [".*" if end - position > 1 else "[^/]*", ""]
            position = end
            continue
        piece, position = _character(part, position, where)
        pieces[-1] += piece
    first, *rest = pieces
    pairs = list(zip(rest[::2], rest[1::2], strict=True))
    between = "".join(f"(?>{star}?{fixed})" for star, fixed in pairs[:-1])
    return first + between + "".join(pairs[-1] if pairs else ())


def _character(part: str, position: int, where: str) -> tuple[str, int]:
    char = part[position]
    position += 1
    if char == "?":
        return "[^/]", position
    if char == "[":
        return _set(part, position, where)
    if char == "\\" and position < len(part):
        return re.escape(part[position]), position + 1
    return re.escape(char), position


def has_wildcard(path: str) -> bool:
    return any(char in path for char in "*?[\\")


def _set(pattern: str, position: int, where: str) -> tuple[str, int]:
    end = pattern.find("]", position + 1)
    if end < 0:
        raise InvalidInput(f"{where}: [ is not closed in {pattern[:60]!r}")
    inside = pattern[position:end]
    negated = inside[:1] in ("^", "!")
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
    return f"(?!/)[{'^' if negated else ''}{members}]", end + 1
