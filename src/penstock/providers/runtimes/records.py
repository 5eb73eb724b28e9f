"""What is written down about a running replica, so that another control process can find it again.

The replica writes its own record right after the fork, the process runtime reads them when it starts. They are not synced:
after a power failure there is no replica that they could be about.
"""

from __future__ import annotations

import os
import shutil
from datetime import datetime
from pathlib import Path

import msgspec

from penstock.providers.runtimes.base import Order, Running

PARENT_PREFIX = "w"
"""First letter of the tokens of warmed parents. Replicas' tokens are hexadecimal, so that a directory is known to be a parent's
even before there is a record in it."""
_NAME = "record.json"


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One start of one replica."""

    order: Order
    """Without the values of its secrets."""
    run_id: str
    boot_id: str
    pid: int
    started: int
    """Clock ticks since boot."""
    started_at: datetime
    address: str
    parent: str = ""
    """Token of the warmed parent that forked it; its own token when it is such a parent itself."""

    @property
    def is_parent(self) -> bool:
        return self.parent != "" and self.parent == self.order.token

    def running(self) -> Running:
        order = self.order
        return Running(
            token=order.token,
            replica=order.replica,
            spec=order.spec,
            generation=order.generation,
            deployed=order.deployed,
            restarts=order.restarts,
            address=self.address,
            started_at=self.started_at,
        )


def write_record(directory: Path, record: Record) -> None:
    """Appears whole or not at all."""
    fresh = directory / f".{_NAME}"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(msgspec.json.encode(record))
    fresh.replace(directory / _NAME)


def read_record(directory: Path) -> Record | None:
    """None where there is none yet or it cannot be read; its replica is then found by its mark alone."""
    try:
        return msgspec.json.decode((directory / _NAME).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


def remove_directory(directory: Path) -> None:
    """Everything of a replica that has ended, whatever its function wrote there."""
    shutil.rmtree(directory, ignore_errors=True)
