"""One replica as its keeper sees it, and what all keepers of a provider share.

A keeper has a `Member` for each replica of its function; the `Crew` is made once by the local provider. Both only hold state:
what happens to a replica is decided by `penstock.providers.keeper`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from penstock.core.health import Check
from penstock.model import FunctionSpec, Replica, ReplicaState
from penstock.providers.clock import Clock
from penstock.providers.runtimes.base import Runtime

if TYPE_CHECKING:
    from penstock.providers.keeper import Keeper

Probe = Callable[[str, Check], Awaitable[bool | str]]
"""Asks the function port at an address: True when the check passes, else False or the reason in words."""

_log = logging.getLogger(__name__)


@dataclass
class Crew:
    """What all keepers share: the runtime, the clock, and ways to tell the provider."""

    runtime: Runtime
    probe: Probe
    clock: Clock
    publish: Callable[[str], None]
    read_secret: Callable[[str, str], bytes]
    by_token: dict[str, tuple[Keeper, Member]] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception():
            _log.error("replica task failed", exc_info=task.exception())


@dataclass(eq=False)
class Member:
    """One replica: a place in the function that outlives the crashes of what runs in it."""

    id: str
    spec: FunctionSpec
    generation: int
    state: ReplicaState = "starting"
    token: str = ""
    address: str = ""
    reason: str = ""
    waiting: str = ""
    """What the runtime says it waits for before it can be ready."""
    failure: str = ""
    """Why the runtime says that it will not become ready."""
    cause: str = ""
    """Why we are ending it, which says more than how it ended."""
    restarts: int = 0
    failures: int = 0
    """Exits in a row without a healthy minute in between."""
    proven: bool = False
    """Whether it has ever been ready."""
    served: str = ""
    """The token of the last start of it that has been ready."""
    begun_at: float = 0.0
    """When it could first be asked."""
    ready_since: float = 0.0
    started_at: datetime | None = None
    leaving: bool = False
    unlaunched: bool = False
    """Waiting only for the runtime to be available again."""
    timer: asyncio.Task[None] | None = None
    """Its probe, its back-off or its drain; one at a time."""
    watches: list[asyncio.Task[None]] = field(default_factory=list)
    """Its repeated checks, where its function asks for any."""

    @property
    def start(self) -> tuple[str, str]:
        """What tells one start, and one address, from the next."""
        return self.token, self.address

    def view(self) -> Replica:
        return Replica(
            id=self.id,
            state=self.state,
            address=self.address,
            reason=self.reason,
            restarts=self.restarts,
            started_at=self.started_at,
        )

    def cancel_tasks(self) -> None:
        for task in (*self.watches, *((self.timer,) if self.timer else ())):
            task.cancel()
        self.timer = None
        self.watches.clear()
