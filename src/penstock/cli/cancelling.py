"""Runs what must be tidied up when it ends early: signals that would end the process cancel it first, and are obeyed then.

Used by `penstock storage cp`, whose uploads have parts in the store that nobody else would remove.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_ENDING = (signal.SIGTERM, signal.SIGHUP)


def run_to_a_tidy_end(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, which does so for SIGINT. Raises SystemExit with the signal's code once `main` has ended after SIGTERM or
    SIGHUP; a second signal ends the process at once. A signal that is ignored stays ignored, as `nohup` wants it."""
    got: list[int] = []
    try:
        return asyncio.run(_guarded(main, got))
    except asyncio.CancelledError:
        if not got:
            raise
    raise SystemExit(128 + got[0])


async def _guarded(main: Coroutine[Any, Any, T], got: list[int]) -> T:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    numbers = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]

    def forget() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def on_signal(number: int) -> None:
        forget()
        got.append(number)
        if task is not None:
            task.cancel()

    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await main
    finally:
        forget()
