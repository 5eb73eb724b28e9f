"""What one gateway counts, as it tells the others (`/loads` on the metrics port, served by `control.loadpage`, read by `peers`)."""

from __future__ import annotations

import secrets
import socket
from typing import Annotated

import msgspec

MOST_BYTES = 8_000_000
"""Of a document; ten thousand functions with the longest names need half of it."""
MOST_FUNCTIONS = 20_000

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=130)]
"""`name.namespace`, each a DNS label."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e15)]


class Counts(msgspec.Struct, frozen=True):
    """Since the process began, by function; `inflight` is of this moment."""

    identity: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """Of the process: another one begins to count anew."""
    started: Annotated[dict[Key, Count], msgspec.Meta(max_length=MOST_FUNCTIONS)]
    busy: Annotated[dict[Key, Seconds], msgspec.Meta(max_length=MOST_FUNCTIONS)]
    inflight: Annotated[dict[Key, Count], msgspec.Meta(max_length=MOST_FUNCTIONS)]


def new_identity() -> str:
    """For a process that begins: where it runs, for people, and what no other one has."""
    return f"{socket.gethostname()[:64]}-{secrets.token_hex(6)}"
