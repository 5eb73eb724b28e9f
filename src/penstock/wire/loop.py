"""What the data plane runs on: uvloop where it is installed, asyncio's own loop otherwise, and an allocator that suits both."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MMAP_FROM = 1 << 20
_TRIM_FROM = 8 << 20


def keep_buffers() -> None:
    """Have glibc keep the memory of read buffers between reads.

    By default a block of 128 KiB or more is mapped and unmapped each time, and a read of a busy stream is twice that: the page
    faults were a fifth of a worker's time for large bodies. Elsewhere than on glibc nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_FROM)


def new_event_loop(environ: Mapping[str, str] = os.environ) -> asyncio.AbstractEventLoop:
    """A new loop. The environment variable PENSTOCK_LOOP=asyncio keeps to the standard library's."""
    if environ.get("PENSTOCK_LOOP") != "asyncio":
        try:
            import uvloop
        except ImportError:
            return asyncio.new_event_loop()
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


def import_event_loop(environ: Mapping[str, str] = os.environ) -> None:
    """Import what `new_event_loop` will, for a process that forks before it."""
    if environ.get("PENSTOCK_LOOP") != "asyncio":
        with contextlib.suppress(ImportError):
            import uvloop  # noqa: F401


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a new loop."""
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(main)
