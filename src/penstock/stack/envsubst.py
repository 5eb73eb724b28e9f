"""`${…}` in a stack file's text, replaced before the YAML is read (contract watchdog-cli §3.3, which restates drone/envsubst).

It looks like a shell's and is not one: nothing is ever run, `$NAME` without braces is text, and every form of default means
the same. Called by `load` and by `penstock.examples`; asks nothing but the mapping it is given.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from penstock.errors import InvalidInput

MAX_DEPTH = 16
"""Levels of `${a:-${b:-…}}`; people write two."""
MAX_TEXT = 10 * 1024 * 1024
"""Characters that a file may have grown to, which a few replacements of long values could exceed by far."""

_NAME = re.compile(r"\w+")
_PLAIN = re.compile(r"(?:[^$\\]++|\$(?![{$])|\\(?![/\\]))++")
_ESCAPES = re.compile(r"(?:\$\$|\\[/\\])+")
"""One after the other, each of which means its second character."""
_DEFAULT = re.compile(r":[-=?+]|=")
_CASE = re.compile(r"[,^]{1,2}")
_REPLACE = re.compile(r"/[/#%]?")
_TRIM = re.compile(r"##?|%%?")
_WORDS = {
    ("}", False): re.compile(r"(?:[^}$]++|\$(?!\{))++"),
    (":}", False): re.compile(r"(?:[^:}$]++|\$(?!\{))++"),
    ("/", True): re.compile(r"(?:[^/$\\]++|\$(?![{$])|\\(?![/\\]))++"),
    ("}", True): re.compile(r"(?:[^}$\\]++|\$(?![{$])|\\(?![/\\]))++"),
}
"""By what ends a text and whether there are escapes in it: as much of it as is plain."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)


@dataclass(frozen=True)
class Substituted:
    """The text, and where its lines come from."""

    text: str
    starts: tuple[int, ...]
    """Lines of `text`, from 1 and ascending, from which on..."""
    shifts: tuple[int, ...]
    """...this many must be added to get the line that was written."""

    def written(self, line: int) -> int:
        """The line of the file that a line of `text` was made from; both count from 1."""
        index = bisect_right(self.starts, line) - 1
        return line + (self.shifts[index] if index >= 0 else 0)


def substitute(text: str, variables: Mapping[str, str], file: str = "") -> str:
    """`text` with every `${…}` replaced; a variable that is not set is empty. Raises InvalidInput, see `expand`."""
    return expand(text, variables, file).text


def expand(text: str, variables: Mapping[str, str], file: str = "") -> Substituted:
    """As `substitute`, with the lines. Raises InvalidInput with `file` and the line for a form that is not known, a brace that
    is missing, more than MAX_DEPTH levels and a result above MAX_TEXT."""
    return _Expansion(text, variables, file).run()


class _Expansion:
    """One pass over one text."""

    def __init__(self, text: str, variables: Mapping[str, str], file: str) -> None:
        self.text = text
        self.variables = variables
        self.file = file
        self.at = 0
        self.grown = 0
        """Characters of all values so far, those of intermediate ones included."""

    def run(self) -> Substituted:
        pieces: list[str] = []
        starts: list[int] = []
        shifts: list[int] = []
        read = written = 1
        for start, piece in self._pieces():
            pieces.append(piece)
            before = self.text.count("\n", start, self.at)
            read += before
            written += piece.count("\n")
            if before != piece.count("\n"):
                starts.append(written)
                shifts.append(read - written)
        return Substituted("".join(pieces), tuple(starts), tuple(shifts))

    def _pieces(self) -> Iterator[tuple[int, str]]:
        while self.at < len(self.text):
            start = self.at
            if plain := self._take(_PLAIN):
                yield start, plain
            elif escaped := self._take(_ESCAPES):
                yield start, escaped[1::2]
            else:
                yield start, self._expression(1)

    def _expression(self, depth: int) -> str:
        """The value of the expression that begins here with `${`."""
        start = self.at
        if depth > MAX_DEPTH:
            raise self._wrong(start, f"more than {MAX_DEPTH} levels of ${{…}} within each other")
        self.at += 2
        if self._peek() == "#":
            self.at += 1
            value = self._variable(self._name(start))
            return self._closed(start, str(len(_bytes(value))))
        value = self._variable(self._name(start))
        for form, read in self._FORMS:
            if operator := self._take(form):
                return self._closed(start, self._limited(read(self, operator, value, start, depth)))
        return self._closed(start, value)

    def _default(self, operator: str, value: str, start: int, depth: int) -> str:
        """`:-` and all its kin: the rest, where expressions may stand, when the variable is not set or empty."""
        parts = []
        while self._peek() not in ("", "}"):
            parts.append(self._expression(depth + 1) if self._opens() else self._words("}"))
        return value or "".join(parts)

    def _case(self, operator: str, value: str, start: int, depth: int) -> str:
        match operator:
            case "^":
                return _upper(value[:1]) + value[1:]
            case "^^":
                return _upper(value)
            case ",":
                return _lower(value[:1]) + value[1:]
            case ",,":
                return _lower(value)
        return value

    def _replaced(self, operator: str, value: str, start: int, depth: int) -> str:
        old = self._argument("/", start, depth, escapes=True)
        if self._peek() != "/":
            raise self._wrong(start, "a replacement is written ${NAME/old/new}")
        while self._peek() == "/":
            self.at += 1
        new = "" if self._peek() == "}" else self._argument("}", start, depth, escapes=True)
        growth = value.count(old) * max(0, len(new) - len(old)) if operator == "//" else len(new)
        self._grow(growth)
        match operator:
            case "/":
                return value.replace(old, new, 1)
            case "//":
                return value.replace(old, new)
            case "/#":
                return new + value.removeprefix(old) if value.startswith(old) else value
        return value.removesuffix(old) + new if value.endswith(old) else value

    def _trimmed(self, operator: str, value: str, start: int, depth: int) -> str:
        pattern = self._argument("}", start, depth)
        longest = len(operator) > 1
        if operator[0] == "#":
            return value[_matching(pattern, value, longest) :]
        kept = len(value) - _matching(pattern[::-1], value[::-1], longest)
        return value[:kept]

    def _part(self, operator: str, value: str, start: int, depth: int) -> str:
        """`${NAME:offset}` and `${NAME:offset:length}`, in bytes."""
        offset = self._argument(":}", start, depth)
        length = None
        if self._peek() == ":":
            while self._peek() == ":":
                self.at += 1
            length = self._argument("}", start, depth)
        if not _NUMBER.fullmatch(offset) or (length is not None and not _NUMBER.fullmatch(length)):
            return value
        if length is not None and int(length) < 0:
            raise self._wrong(start, f"the length {length} is negative")
        data = _bytes(value)
        first = int(offset) if int(offset) >= 0 else max(0, len(data) + int(offset))
        last = len(data) if length is None else first + int(length)
        return data[first:last].decode(errors="surrogateescape")

    _FORMS: tuple[tuple[re.Pattern[str], Callable[[_Expansion, str, str, int, int], str]], ...] = (
        (_DEFAULT, _default),
        (_CASE, _case),
        (_REPLACE, _replaced),
        (_TRIM, _trimmed),
        (re.compile(":"), _part),
    )

    def _argument(self, ends: str, start: int, depth: int, escapes: bool = False) -> str:
        """One expression, or text up to one of `ends`."""
        if self._opens():
            return self._expression(depth + 1)
        words = self._words(ends, escapes)
        if not words:
            raise self._wrong(start, "bad substitution: something is missing before the closing brace")
        return words

    def _words(self, ends: str, escapes: bool = False) -> str:
        """Text up to one of `ends` or an expression; backslashes and `$$` mean something only with `escapes`."""
        words = _WORDS[ends, escapes]
        parts = []
        while part := self._take(words) or (self._take(_ESCAPES)[1::2] if escapes else ""):
            parts.append(part)
        return "".join(parts)

    def _name(self, start: int) -> str:
        name = self._take(_NAME)
        if not name:
            raise self._wrong(start, "bad substitution: a name must follow ${; write $${ where the text ${ is meant")
        return name

    def _variable(self, name: str) -> str:
        return self._limited(self.variables.get(name, ""))

    def _closed(self, start: int, value: str) -> str:
        if self._peek() != "}":
            raise self._wrong(
                start, "missing closing brace; ${NAME:-default} is the form with a default, $$ stands for $"
            )
        self.at += 1
        return value

    def _limited(self, value: str) -> str:
        self._grow(len(value))
        return value

    def _grow(self, amount: int) -> None:
        self.grown += amount
        if self.grown > MAX_TEXT:
            raise self._wrong(
                self.text.rfind("${", 0, self.at), f"variables make it longer than {MAX_TEXT // 1024 // 1024} MB"
            )

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if not found:
            return ""
        self.at = found.end()
        return found[0]

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _opens(self) -> bool:
        return self.text.startswith("${", self.at)

    def _wrong(self, start: int, what: str) -> InvalidInput:
        line = self.text.count("\n", 0, start) + 1
        seen = self.text[start : start + 40].partition("\n")[0]
        return InvalidInput(f"{self.file or 'text'}:{line}: {seen!r}: {what}")


def _bytes(value: str) -> bytes:
    return value.encode(errors="surrogateescape")


def _upper(value: str) -> str:
    """Letter by letter: what would become two letters, such as ß, stays."""
    return "".join(big if len(big := char.upper()) == 1 else char for char in value)


def _lower(value: str) -> str:
    return "".join(char.lower()[:1] for char in value)


_Token = Callable[[str], bool] | None
"""Whether a character fits; None stands for `*`."""


def _matching(pattern: str, value: str, longest: bool) -> int:
    """Length of the shortest or longest beginning of `value`, but the empty one, that fits a pattern of `*`, `?` and `[a-z]`;
    0 when none does or the pattern is broken. Takes time in proportion to both lengths, whatever the pattern."""
    tokens = _tokens(pattern)
    if tokens is None:
        return 0
    states = _after_stars({0}, tokens)
    found = 0
    for length, char in enumerate(value, 1):
        step = set()
        for state in states:
            if state < len(tokens):
                token = tokens[state]
                if token is None:
                    step.add(state)
                elif token(char):
                    step.add(state + 1)
        states = _after_stars(step, tokens)
        if not states:
            break
        if len(tokens) in states:
            found = length
            if not longest:
                break
    return found


def _after_stars(states: set[int], tokens: list[_Token]) -> set[int]:
    reached = set(states)
    for state in states:
        while state < len(tokens) and tokens[state] is None:
            state += 1
            reached.add(state)
    return reached


_CLASS = re.compile(r"\[\^?(?:(?:\\.|[^\\\]\-])(?:-(?:\\.|[^\\\]\-]))?)+\]", re.DOTALL)


def _tokens(pattern: str) -> list[_Token] | None:
    tokens: list[_Token] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "*":
            if not tokens or tokens[-1] is not None:
                tokens.append(None)
        elif char == "?":
            tokens.append(lambda char: True)
        elif char == "[":
            found = _CLASS.match(pattern, at - 1)
            if not found:
                return None
            at = found.end()
            tokens.append(_class(found[0]))
        else:
            if char == "\\":
                if at == len(pattern):
                    return None
                char = pattern[at]
                at += 1
            tokens.append(char.__eq__)
    return tokens


def _class(text: str) -> Callable[[str], bool]:
    negated = text.startswith("[^")
    ranges = re.findall(r"(\\.|[^\\])(?:-(\\.|[^\\]))?", text[2 if negated else 1 : -1], re.DOTALL)
    bounds = [(low[-1], (high or low)[-1]) for low, high in ranges]
    return lambda char: any(low <= char <= high for low, high in bounds) is not negated
