"""Signals to the watchdog: which ones end it, which go on to its program, and what process 1 owes to orphans.

The app's event loop calls from here. The kernel hands process 1 of a container only signals it has a handler for, and every
process whose parent died; neither happens by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Protocol, runtime_checkable

from penstock.watchdog.spawn import Spawner

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
"""All three drain: images name any of them as the signal that stops their container."""

FORWARDED = (
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCONT,
    signal.SIGTTIN,
    signal.SIGTTOU,
)
"""What servers take as orders: to reload, to reopen logs, to add or remove workers."""

_LONG_LIVED = ("http", "afterburn", "prefork")
"""Modes whose programs may lose children long before they end themselves."""


@runtime_checkable
class TakesSignals(Protocol):
    """A mode that has a program to forward signals to."""

    def forward(self, number: int) -> None:
        """Send the signal to the program alone, not to its group."""


def listen_to_the_end(loop: asyncio.AbstractEventLoop, asked: Callable[[], None]) -> None:
    """Call `asked` for each signal that means the end."""
    for number in ENDING:
        loop.add_signal_handler(number, asked)


def forward_to(loop: asyncio.AbstractEventLoop, mode: object, asked: Callable[[], None]) -> None:
    """Hand the other signals to a mode that takes them. Without one, SIGHUP means that the terminal is gone: the end."""
    if isinstance(mode, TakesSignals):
        for number in FORWARDED:
            loop.add_signal_handler(number, mode.forward, number)
    elif hangup_counts():
        loop.add_signal_handler(signal.SIGHUP, asked)


def hangup_counts() -> bool:
    """Whether SIGHUP ends a watchdog without a program to hand it to: unless whoever started it (nohup) had it ignored."""
    return signal.getsignal(signal.SIGHUP) != signal.SIG_IGN


def reap_orphans(loop: asyncio.AbstractEventLoop, mode: str, spawner: Spawner) -> None:
    """Have orphans that ended reaped at once. The modes that fork for every request look after each of them anyway, so there
    it is only done as process 1, where orphans come without any request."""
    if mode in _LONG_LIVED or os.getpid() == 1:

        def heard(number: int, frame: FrameType | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: init reaps what is left
                loop.call_soon_threadsafe(spawner.reap)

        signal.signal(signal.SIGCHLD, heard)  # uvloop keeps its own way of handling this one to itself
