"""Plain data as YAML that every reader understands alike: a text is quoted wherever some reader would take it for something else.

Used by `write` and by what writes manifests.
"""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

_SAFE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:[./:@-]+[A-Za-z0-9_]+)*", re.ASCII)
_WORDS = frozenset(("true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"))
"""What YAML 1.1 or 1.2, or one of their readers, makes a value of another kind."""


def dump(document: Any) -> str:
    """One document without `---`; mappings in their order, no anchors, no line broken."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=math.inf)


def scalar(text: str) -> str:
    """A text as it stands behind a key, quoted where it must be."""
    return dump(text).removesuffix("\n...\n").removesuffix("\n")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Lists are indented below their key."""
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    plain = _SAFE.fullmatch(text) and text.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)
