"""The modes by name: how a request meets the program. A mode's module is imported when it is chosen.

The app loads one; each mode gets a `Context` and answers `Call`s. Adding a mode means one file here, one line in `_PLACES`
and its name in `watchdog.settings.MODES`.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, cast

from penstock.watchdog.call import Call
from penstock.watchdog.importing import Application
from penstock.watchdog.logs import Log
from penstock.watchdog.settings import WatchdogSettings
from penstock.watchdog.spawn import Spawner

if TYPE_CHECKING:
    from penstock.watchdog.baton import Baton

_PLACES = {
    "classic": "penstock.watchdog.modes.classic:Classic",
    "serializing": "penstock.watchdog.modes.serializing:Serializing",
    "streaming": "penstock.watchdog.modes.streaming:Streaming",
    "prefork": "penstock.watchdog.modes.prefork:Prefork",
    "afterburn": "penstock.watchdog.modes.afterburn:Afterburn",
    "http": "penstock.watchdog.modes.http:Http",
    "python": "penstock.watchdog.modes.python:Python",
    "asgi": "penstock.watchdog.modes.asgi:Asgi",
    "wsgi": "penstock.watchdog.modes.wsgi:Wsgi",
    "static": "penstock.watchdog.modes.static:Static",
    "broken": "penstock.watchdog.modes.broken:Broken",
}

_WARM = ("classic", "serializing", "streaming", "http", "static")
"""Modes that are worth their memory in every replica of the process provider."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a mode works with."""

    settings: WatchdogSettings
    loop: asyncio.AbstractEventLoop
    spawner: Spawner
    log: Log
    application: Application = field(default_factory=Application)
    """The modes that import the function: what was imported."""
    leave: Callable[[str], None] = lambda reason: None
    """The modes that import the function: have this process drained and replaced, for the reason given."""
    baton: Baton | None = None
    """What the loop is run by, where it is run so that short calls can be made by the same thread."""


class Mode(Protocol):
    """One way to answer requests."""

    def __init__(self, context: Context) -> None: ...

    async def start(self) -> None:
        """Begin. Raises SettingsError for what only shows now."""

    def handle(self, call: Call) -> None:
        """Answer the call, now or later. Must not block. May raise InvalidInput before it has begun to."""

    def unready(self) -> str:
        """Why requests cannot be served yet; empty when they can."""

    async def stop(self) -> None:
        """No more calls will come and none is in flight: end what runs."""


def load_mode(name: str) -> type[Mode]:
    """The class of a mode named in `watchdog.settings.MODES`."""
    module, _, attribute = _PLACES[name].partition(":")
    return cast(type[Mode], getattr(importlib.import_module(module), attribute))


def preload() -> None:
    """Import the usual modes, so that processes forked from here share the memory."""
    for name in _WARM:
        load_mode(name)
