"""What happens to containers behind our back: one stream of the engine's events, opened again whenever it breaks.

The docker runtime runs one `Watch`. What happened while there was no stream is not told by any event, so whoever listens is
told to look at everything again before the next stream begins, and misses nothing in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Literal, Protocol, cast, get_args

import msgspec

from penstock.errors import PenstockError, ProviderUnavailable
from penstock.providers.containers.engine import Engine

RETRY_FIRST, RETRY_LAST = 0.1, 2.0
"""Seconds between tries to reach an engine that is away."""
OVERLAP = 5
"""Seconds of events from before everything was looked at that are read too: an engine may still list as running what has died."""
Action = Literal["die", "destroy", "pause", "disconnect", "start"]
_ACTIONS = get_args(Action)

_log = logging.getLogger(__name__)


class Happening(msgspec.Struct, frozen=True):
    """Something that happened to a container, ours or not."""

    action: Action
    container: str
    network: str = ""
    """Name of the network that it was disconnected from."""
    at: float = math.inf
    """Seconds since 1970, by the engine's clock."""


class Listener(Protocol):
    async def look_again(self, info: dict[str, Any]) -> None:
        """The engine answers, for the first time or again. Raises ProviderUnavailable, EngineRefused."""

    def happened(self, happening: Happening) -> None: ...

    def back(self) -> None:
        """The engine can be used again, after it was lost."""


class Watch:
    """The events of one engine."""

    def __init__(
        self, engine: Engine, listener: Listener, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self.problem = f"the Docker Engine at {engine.url} is not connected yet"
        """Why there are no events; empty when there are."""
        self._engine = engine
        self._listener = listener
        self._sleep = sleep

    def connected(self, info: dict[str, Any]) -> str:
        """Everything has been looked at after the engine has said this of itself; since when events are wanted."""
        self.problem = ""
        return timestamp_of(info.get("SystemTime") or "")

    async def run(self, since: str) -> None:
        """Until it is cancelled; begins at that time of the engine."""
        pause = RETRY_FIRST
        while True:
            if since and await self._follow(since):
                pause = RETRY_FIRST
            await self._sleep(pause)
            pause = min(pause * 2, RETRY_LAST)
            since = await self._reach()

    async def _follow(self, since: str) -> bool:
        """Tell what happens, from that time of the engine on, until the stream ends; whether anything happened."""
        anything = False
        filters = {"type": ["container", "network"], "event": list(_ACTIONS)}
        stream = self._engine.documents("/events", since=since, filters=filters)
        try:
            async for document in stream:
                anything = True
                if happening := happening_of(document):
                    self._listener.happened(happening)
            self._lost(f"the Docker Engine at {self._engine.url} ended the stream of its events")
        except PenstockError as error:
            self._lost(str(error))
        except Exception as error:
            _log.exception("an event of the engine's could not be followed")
            self._lost(f"the events of the Docker Engine at {self._engine.url} cannot be followed: {error!r}")
        finally:
            with contextlib.suppress(PenstockError):
                await stream.aclose()
        return anything

    async def _reach(self) -> str:
        """Since when events are wanted; empty when the engine is still away."""
        try:
            info = await self._engine.open()
            await self._listener.look_again(info)
        except PenstockError as error:
            if not isinstance(error, ProviderUnavailable):
                _log.warning("the engine's containers cannot be listed: %s", error)
            self.problem = str(error)
            return ""
        except Exception as error:
            _log.exception("the engine's containers could not be compared")
            self.problem = f"what the Docker Engine at {self._engine.url} says makes no sense: {error!r}"
            return ""
        _log.info("the Docker Engine at %s answers again", self._engine.url)
        since = self.connected(info)
        self._listener.back()
        return since

    def _lost(self, why: str) -> None:
        self.problem = why
        _log.warning("%s", why)


def timestamp_of(time: str) -> str:
    """A little before an engine's time, as it takes it back: seconds and nanoseconds since 1970. "0", the beginning, for what
    is no time."""
    second, _, rest = time.partition(".")
    fraction = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    zone = rest[len(fraction) :]
    try:
        seconds = int(datetime.fromisoformat(second + zone).timestamp())
    except ValueError:
        return "0"
    return f"{seconds - OVERLAP}.{fraction.ljust(9, '0')}"


def happening_of(document: dict[str, Any]) -> Happening | None:
    """What an event says; None for what nobody here wants to know."""
    action = document.get("Action")
    actor = document.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    if action not in _ACTIONS:
        return None
    if document.get("Type") == "network":
        container, network = attributes.get("container", ""), attributes.get("name", "")
    else:
        container, network = actor.get("ID", ""), ""
    at = document.get("timeNano", 0) / 1e9 or math.inf
    return Happening(cast(Action, action), container, network, at) if container else None
