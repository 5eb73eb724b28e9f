"""Words of an instruction: quotes, the escape character, and variables `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+other}`.

Called by `dockerfile` and `values`. Source: the Dockerfile reference, section Environment replacement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from penstock.errors import InvalidInput

Fault = Callable[[str], InvalidInput]
"""Makes the error that says where the words are."""

DEEPEST = 16
"""Levels of `${A:-${B:-…}}`."""
LONGEST = 1 << 20
"""Characters that a word may become, since variables may hold variables' values over and over."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]")


def split(text: str, escape: str) -> list[str]:
    """Cut at white space outside of quotes; quotes and escapes stay, for `expand`."""
    words, word, quote, position = list[str](), "", "", 0
    while position < len(text):
        char = text[position]
        if char == escape and quote != "'" and position + 1 < len(text):
            word += text[position : position + 2]
            position += 2
            continue
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char.isspace():
            if word:
                words.append(word)
            word, position = "", position + 1
            continue
        word += char
        position += 1
    return [*words, word] if word else words


def expand(word: str, known: Mapping[str, str], escape: str, fault: Fault, depth: int = 0) -> str:
    """Without its quotes and escapes, and with values for variables; an unknown one is empty. Raises what `fault` makes."""
    if depth > DEEPEST:
        raise fault(f"variables are nested deeper than {DEEPEST}")
    out, quote, position, length = list[str](), "", 0, 0
    while position < len(word):
        char = word[position]
        piece, position = char, position + 1
        if char == escape and quote != "'" and position < len(word):
            follows = word[position]
            position += 1
            piece = follows if not quote or follows in ('"', "$", escape) else escape + follows
        elif quote and char == quote:
            piece, quote = "", ""
        elif not quote and char in "\"'":
            piece, quote = "", char
        elif char == "$" and quote != "'":
            piece, position = _variable(word, position, known, escape, fault, depth)
        out.append(piece)
        length += len(piece)
        if length > LONGEST:
            raise fault(f"a value becomes longer than {LONGEST} characters")
    if quote:
        raise fault(f"the quote {quote} is not closed in {word[:60]!r}")
    return "".join(out)


def _variable(
    word: str, position: int, known: Mapping[str, str], escape: str, fault: Fault, depth: int
) -> tuple[str, int]:
    """The value of what is behind a dollar sign, and where it ends."""
    if word[position : position + 1] != "{":
        found = _NAME.match(word, position)
        return (known.get(found[0], ""), found.end()) if found else ("$", position)
    end = _closing(word, position, escape)
    if end < 0:
        raise fault(f"${{ is not closed in {word[:60]!r}")
    inside = word[position + 1 : end]
    name = _NAME.match(inside)
    if name is None:
        raise fault(f"{'${' + inside[:60] + '}'!r} names no variable")
    operator, rest = inside[name.end() : name.end() + 2], inside[name.end() + 2 :]
    value = known.get(name[0], "")
    if not operator:
        return value, end + 1
    if operator == ":-":
        return value or expand(rest, known, escape, fault, depth + 1), end + 1
    if operator == ":+":
        return expand(rest, known, escape, fault, depth + 1) if value else "", end + 1
    raise fault(f"{'${' + inside[:60] + '}'!r}: only ${{NAME}}, ${{NAME:-default}} and ${{NAME:+other}} are understood")


def _closing(word: str, opening: int, escape: str) -> int:
    """Where the brace at `opening` is closed; -1 where it is not."""
    depth, position = 0, opening
    while position < len(word):
        if word[position] == escape:
            position += 1
        elif word[position] == "{":
            depth += 1
        elif word[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return -1
