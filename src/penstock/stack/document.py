"""YAML as nodes that know their line, with every scalar as the text that was written: `on`, `010` and `1.50` stay as they are.

Called by `load`. What a reader of configuration should not have to survive is refused here: duplicate keys, anchors that
contain themselves or multiply, tags, nesting without end, files above MAX_BYTES. Judges no names; see `load`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import yaml

from penstock.errors import InvalidInput, TooLarge

MAX_BYTES = 10 * 1024 * 1024
"""Of a file; a stack of a thousand functions has a twentieth of that."""
MAX_DEPTH = 32
"""Mappings and lists within each other; a stack file has five."""
MAX_NODES = 500_000
"""Of a document with its aliases written out."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TAGS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq"))
_MERGE = "<<"


@dataclass(frozen=True, slots=True)
class Scalar:
    line: int
    text: str
    null: bool = False
    """Nothing was written, or `null` or `~`."""
    what = "a value"


@dataclass(slots=True)
class Sequence:
    line: int
    items: list[Node] = field(default_factory=list)
    what = "a list"


@dataclass(slots=True)
class Mapping:
    line: int
    entries: dict[str, Entry] = field(default_factory=dict)
    what = "a mapping"

    def get(self, key: str) -> Node | None:
        """The value of a key; None where it is absent or null."""
        entry = self.entries.get(key)
        return None if entry is None or is_null(entry.value) else entry.value


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key: value`; the line is the key's."""

    line: int
    value: Node


Node = Scalar | Sequence | Mapping


@dataclass(frozen=True)
class Document:
    """The first document of a file."""

    root: Node
    more: int = 0
    """Line on which a second one begins; 0 when there is none."""


def is_null(node: Node) -> bool:
    return isinstance(node, Scalar) and node.null


def check_size(data: bytes, file: str) -> None:
    """Raises TooLarge for a file above MAX_BYTES."""
    if len(data) > MAX_BYTES:
        raise TooLarge(f"{file}: is larger than {MAX_BYTES // 1024 // 1024} MB, which no stack file needs")


def decode(data: bytes, file: str) -> str:
    """The text of a file. Raises TooLarge, and InvalidInput for what is not UTF-8."""
    check_size(data, file)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InvalidInput(
            f"{file}:{line}: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from error


def parse(text: str, file: str, line_of: Callable[[int], int] = lambda line: line) -> Document:
    """Read YAML. `line_of` turns a line of `text` into one of `file`, where the two differ; both count from 1.

    Raises InvalidInput with file and line, for what is not YAML and for all that the head of this module lists.
    """
    try:
        return _Composer(file, line_of).compose(yaml.parse(text, _Loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{line_of(mark.line + 1)}" if mark else file
        context = f" ({error.context})" if error.context else ""
        raise InvalidInput(f"{where}: not YAML: {error.problem}{context}") from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise InvalidInput(f"{file}: not YAML: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end is still to come."""

    node: Sequence | Mapping
    anchor: str | None
    key: Scalar | None = None
    merges: list[Mapping] = field(default_factory=list)
    size: int = 1


class _Composer:
    """Builds nodes from events without recursion, so that no file can exhaust the stack."""

    def __init__(self, file: str, line_of: Callable[[int], int]) -> None:
        self.file = file
        self.line_of = line_of
        self.open: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.root: Node | None = None

    def compose(self, events: Iterator[yaml.Event]) -> Document:
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    return Document(self.root or Scalar(1, "", null=True), self._line(event))
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._begin(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
        return Document(self.root or Scalar(1, "", null=True))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._check_tag(event)
        line = self._line(event)
        null = not event.style and event.value in _NULLS and event.tag is None
        scalar = Scalar(line, event.value, null)
        if event.anchor:
            self.anchors[event.anchor] = (scalar, 1)
        self._place(scalar, 1)

    def _begin(self, event: yaml.CollectionStartEvent) -> None:
        self._check_tag(event)
        line = self._line(event)
        if len(self.open) >= MAX_DEPTH:
            raise self._wrong(line, f"more than {MAX_DEPTH} levels of mappings and lists within each other")
        node: Sequence | Mapping = Mapping(line) if isinstance(event, yaml.MappingStartEvent) else Sequence(line)
        if event.anchor:
            self.anchors.pop(event.anchor, None)
        self.open.append(_Open(node, event.anchor))

    def _end(self) -> None:
        done = self.open.pop()
        if isinstance(done.node, Mapping):
            for merged in done.merges:
                for key, entry in merged.entries.items():
                    done.node.entries.setdefault(key, entry)
        if done.anchor:
            self.anchors[done.anchor] = (done.node, done.size)
        self._place(done.node, done.size)

    def _alias(self, event: yaml.AliasEvent) -> None:
        line = self._line(event)
        if any(opened.anchor == event.anchor for opened in self.open) and event.anchor not in self.anchors:
            raise self._wrong(line, f"*{event.anchor} stands inside of &{event.anchor}, which would never end")
        if event.anchor not in self.anchors:
            raise self._wrong(line, f"*{event.anchor} refers to nothing; &{event.anchor} must stand before it")
        self._place(*self.anchors[event.anchor], line=line)

    def _place(self, node: Node, size: int, line: int = 0) -> None:
        """Put a finished node where it belongs."""
        if not self.open:
            self.root = node
            return
        parent = self.open[-1]
        parent.size += size
        line = line or node.line
        if parent.size > MAX_NODES:
            raise self._wrong(line, f"with its aliases written out it has more than {MAX_NODES} values")
        if isinstance(parent.node, Sequence):
            parent.node.items.append(node)
        elif parent.key is None:
            if not isinstance(node, Scalar):
                raise self._wrong(line, f"a key is a word, not {node.what}")
            parent.key = Scalar(line, node.text)
        else:
            self._enter(parent, parent.node, parent.key, node)
            parent.key = None

    def _enter(self, parent: _Open, mapping: Mapping, key: Scalar, value: Node) -> None:
        if key.text == _MERGE:
            merged = value.items if isinstance(value, Sequence) else [value]
            for item in merged:
                if not isinstance(item, Mapping):
                    raise self._wrong(key.line, f"<< takes a mapping such as *defaults, not {item.what}")
                parent.merges.append(item)
            return
        if key.text in mapping.entries:
            first = mapping.entries[key.text].line
            raise self._wrong(key.line, f"{key.text!r} is there twice, first on line {first}")
        mapping.entries[key.text] = Entry(key.line, value)

    def _check_tag(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag not in (None, "!") and event.tag not in _TAGS:
            shown = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._wrong(self._line(event), f"the tag {shown[:80]!r} means nothing here; leave it out")

    def _line(self, event: yaml.Event) -> int:
        return self.line_of(event.start_mark.line + 1 if event.start_mark else 1)

    def _wrong(self, line: int, what: str) -> InvalidInput:
        return InvalidInput(f"{self.file}:{line}: {what}")
