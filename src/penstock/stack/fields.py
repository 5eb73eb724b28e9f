"""Typed values out of YAML nodes, with every fault and doubt collected, so that a file's author hears of all of them at once.

Called by `load` for each key it knows.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from penstock.errors import InvalidInput
from penstock.stack.document import Mapping, Node, Scalar, Sequence, is_null

_TRUE = frozenset(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"))
_FALSE = frozenset(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"))
_SHOWN = 20
"""Faults, and warnings, of one file."""


class Fields:
    """Reads values of one file and remembers what was wrong with them."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[str] = []
        self.warnings: list[str] = []

    def check(self) -> None:
        """Raises InvalidInput with all faults, one a line."""
        if self.faults:
            raise InvalidInput("\n".join(_first(self.faults)))

    def shown_warnings(self) -> tuple[str, ...]:
        """The first of them, and how many more there are."""
        return tuple(_first(self.warnings))

    def fault(self, line: int, what: str) -> None:
        self.faults.append(f"{self.file}:{line}: {what}")

    def warn(self, line: int, what: str) -> None:
        self.warnings.append(f"{self.file}:{line}: {what}")

    def judged(self, line: int, judge: Callable[[str], str], text: str) -> str:
        """`text` when `judge` lets it pass; otherwise a fault, and empty."""
        try:
            return judge(text)
        except InvalidInput as error:
            self.fault(line, str(error))
            return ""

    def mapping(self, node: Node | None, what: str) -> Mapping:
        """A mapping; an empty one for what is absent or null."""
        if isinstance(node, Mapping):
            return node
        if node is not None and not is_null(node):
            self.fault(node.line, f"{what} must be a mapping of `key: value` lines, not {_seen(node)}")
        return Mapping(node.line if node else 1)

    def known(self, mapping: Mapping, keys: Iterable[str], where: str) -> None:
        """Warn of keys that are not among `keys`, with the nearest that is."""
        words = list(keys)
        for key, entry in mapping.entries.items():
            if key not in words:
                self.warn(entry.line, f"{where} has no key {key[:80]!r}, it is ignored{_nearest(key, words)}")

    def text(self, mapping: Mapping, key: str, what: str) -> str:
        """A scalar as it is written; empty for what is absent or null."""
        node = mapping.get(key)
        if node is None:
            return ""
        if isinstance(node, Scalar):
            return self._printed(node.line, node.text, what)
        self.fault(node.line, f"{what} must be one value, not {_seen(node)}")
        return ""

    def switch(self, mapping: Mapping, key: str, what: str) -> bool:
        """`true` or `false`, in the spellings of YAML 1.1."""
        node = mapping.get(key)
        if node is None:
            return False
        if isinstance(node, Scalar) and node.text in _TRUE | _FALSE:
            return node.text in _TRUE
        self.fault(node.line, f"{what} must be true or false, not {_seen(node)}")
        return False

    def texts(self, mapping: Mapping, key: str, what: str) -> tuple[str, ...]:
        """A list of scalars, without those that are null."""
        return tuple(item.text for item in self.scalars(mapping, key, what))

    def scalars(self, mapping: Mapping, key: str, what: str) -> list[Scalar]:
        """As `texts`, with their lines."""
        node = mapping.get(key)
        if node is None:
            return []
        if not isinstance(node, Sequence):
            self.fault(node.line, f"{what} must be a list of `- value` lines, not {_seen(node)}")
            return []
        found = []
        for item in node.items:
            if not isinstance(item, Scalar):
                self.fault(item.line, f"{what} must be a list of single values, not of {_plural(item)}")
            elif not item.null:
                self._printed(item.line, item.text, what)
                found.append(item)
        return found

    def pairs(self, mapping: Mapping, key: str, what: str) -> dict[str, str]:
        """A mapping of scalars to texts; null is the empty text."""
        found = {}
        for name, entry in self.mapping(mapping.get(key), what).entries.items():
            if isinstance(entry.value, Scalar):
                text = "" if entry.value.null else entry.value.text
                found[name] = self._printed(entry.line, text, f"{what}: {name!r}")
            else:
                self.fault(entry.line, f"{what}: {name!r} must be one value, not {_seen(entry.value)}")
        return found

    def _printed(self, line: int, text: str, what: str) -> str:
        """`text`; a fault when it holds what no program line, variable or path can carry."""
        if "\0" in text:
            self.fault(
                line, f"{what} holds the character NUL, which no program, variable or path can carry; take it out"
            )
        return text


def _first(sentences: list[str]) -> list[str]:
    more = len(sentences) - _SHOWN
    return sentences[:_SHOWN] + ([f"and {more} more"] if more > 0 else [])


def _seen(node: Node) -> str:
    return repr(node.text[:60]) if isinstance(node, Scalar) else node.what


def _plural(node: Node) -> str:
    return "lists" if isinstance(node, Sequence) else "mappings"


def _nearest(key: str, words: list[str]) -> str:
    near = difflib.get_close_matches(key[:80], words, n=1, cutoff=0.7) or [
        word for word in words if key and word.startswith(key[:80])
    ]
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(words)}"
