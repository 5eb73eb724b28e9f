"""One replica as the docker runtime sees it, from its launch to its end, and what is written on its container.

Only holds state; `runtimes.docker` decides what happens to it, `starting` starts it and `adopting` reads it back.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

import msgspec

from penstock.core.health import HEALTH_PATH, READY_PATH, Check
from penstock.errors import PenstockError
from penstock.providers.containers.plan import Plan
from penstock.providers.runtimes.base import Order, Running

Stage = Literal["preparing", "creating", "waking", "running"]


class Unwanted(PenstockError):
    """A replica was told to end before it ran."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a container carries as the label ORDER: all that is needed to know its replica again."""

    order: Order
    """Without its secrets."""
    port: int
    """Where the function answers in the container."""
    path: str = READY_PATH
    lenient: bool = False

    @property
    def check(self) -> Check:
        return Check(path=self.path, passes="any") if self.lenient else Check(path=self.path)

    def fits(self, order: Order) -> bool:
        """Whether its container is what this order would start."""
        own = self.order
        return (own.spec, own.generation, own.deployed) == (order.spec, order.generation, order.deployed)


def record_of(order: Order, plan: Plan) -> Record:
    """Our own watchdog tells whether it is ready; others know at least that they live."""
    path = READY_PATH if plan.injected or plan.lenient_ready else HEALTH_PATH
    order = msgspec.structs.replace(order, secrets={})
    return Record(order=order, port=plan.port, path=path, lenient=plan.lenient_ready)


class Entry:
    """A replica that was launched or found and has not ended."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.stage: Stage = "preparing"
        self.container = ""
        """The engine's id; empty until there is one."""
        self.name = ""
        self.record: Record | None = None
        self.address = ""
        self.pid = 0
        """Of its first process, on the engine's machine."""
        self.started_at: datetime | None = None
        self.found = False
        """Whether an earlier control process started it; the order is then without secrets."""
        self.stop_signal = "SIGTERM"
        """What its image wants to be sent when it is to finish."""
        self.wish: Literal["", "end", "kill"] = ""
        """What was asked for by `stop`."""
        self.rest: Literal["", "stop", "pause"] = ""
        """How its container is to be kept, since its function is at zero."""
        self.kept = False
        """Its container is kept for another replica, or that replica's already."""
        self.doubted = False
        """Its container was said to have died before it was known since when it runs."""
        self.revived = False
        """Somebody else has started its container again after its end."""
        self.unwanted = asyncio.Event()
        """Set when there is a wish."""
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        """Done when its container runs no more; the text says why where the container itself cannot."""

    def __repr__(self) -> str:
        return f"Entry({self.order!r}, {self.stage}, container={self.container[:12]!r}, wish={self.wish!r})"

    def end(self, why: str = "") -> None:
        """Its container runs no more."""
        if not self.ended.done():
            self.ended.set_result(why)

    def begin_anew(self) -> None:
        """The container that was kept for it is of no use: it has none again, alive or dead."""
        self.stage, self.container, self.address, self.pid = "preparing", "", "", 0
        self.started_at, self.doubted = None, False
        self.ended = asyncio.get_running_loop().create_future()

    def ask(self, kill: bool) -> bool:
        """Remember that it is to end; False when nothing new was asked for."""
        wish: Literal["end", "kill"] = "kill" if kill else "end"
        if self.wish in (wish, "kill"):
            return False
        self.wish = wish
        self.unwanted.set()
        return True

    def check_wanted(self) -> None:
        """Raises Unwanted when it was told to end."""
        if self.wish:
            raise Unwanted("ended before it was started")

    def running(self) -> Running:
        if self.started_at is None:
            raise ValueError(f"{self!r} does not run")
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
