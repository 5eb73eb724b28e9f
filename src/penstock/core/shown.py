"""Text of others as it may be shown: what would steer a terminal, or turn the order of letters, is replaced.

Called where such text comes in, by the readers of templates and stores.
"""

from __future__ import annotations

import re

_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tab and line end, marks of direction, and halves of surrogate pairs, which UTF-8 cannot say."""


def shown(text: str) -> str:
    """The same with U+FFFD in place of each such character."""
    return _STEERING.sub("\ufffd", text)
