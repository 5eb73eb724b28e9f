"""Amounts of memory as people write them: Kubernetes quantities (`128Mi`, `1G`) and Docker's units (`128m`, `1g`).

Where the two disagree the letter's case decides: lower case is Docker's (`m` is 1024²), upper case is Kubernetes' (`M` is
1000²). Kubernetes' own lower-case `m`, a thousandth of a byte, means nothing for memory.
"""

from __future__ import annotations

import re

from penstock.errors import InvalidInput

_QUANTITY = re.compile(r"(\d{1,19}(?:\.\d{1,19})?|\.\d{1,19})(?:([eE])(\d{1,2})|([A-Za-z]{0,2}))", re.ASCII)
_UNITS = {
    "": 1,
    **{letter + "i": 1024**power for power, letter in enumerate("KMGTPE", 1)},
    **{letter: 1000**power for power, letter in enumerate("KMGTPE", 1)},
    "b": 1,
    **{letter: 1024**power for power, letter in enumerate("kmgt", 1)},
    **{letter + "b": 1024**power for power, letter in enumerate("kmgt", 1)},
}
MAX_BYTES = 2**62
"""Above any machine's memory and below what a signed 64-bit resource limit can hold."""


def parse_bytes(text: str) -> int:
    """Bytes in `text`, rounded down: `128Mi`, `1.5Gi`, `1e9`, `64M`, `128m`, `1g`, `1048576`. Raises InvalidInput for
    anything else, for less than one byte and for more than 2**62."""
    found = _QUANTITY.fullmatch(text)
    unit = found.group(4) or "" if found else ""
    if not found or unit not in _UNITS:
        raise InvalidInput(f"{text[:64]!r} is not an amount of memory: use 128Mi, 1Gi, 128m, 1g or a number of bytes")
    factor = 10 ** int(found.group(3)) if found.group(2) else _UNITS[unit]
    amount = int(float(found.group(1)) * factor) if "." in found.group(1) else int(found.group(1)) * factor
    if not 1 <= amount <= MAX_BYTES:
        raise InvalidInput(f"{text!r} is not a usable amount of memory: it must be from 1 byte to 2**62")
    return amount
