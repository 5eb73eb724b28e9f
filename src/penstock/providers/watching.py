"""Streams of function changes, one for each caller of a provider's `watch()`.

The provider tells which key changed; a slow caller gets one event per function with its latest state, however often it
changed meanwhile. What a function looks like is asked at the moment of delivery, so nothing is copied per subscriber.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from penstock.model import Function, FunctionEvent


class Watchers:
    """The open streams of one provider."""

    def __init__(self, lookup: Callable[[str], Function | None], keys: Callable[[], Iterable[str]]) -> None:
        self._lookup = lookup
        self._keys = keys
        self._streams: set[_Stream] = set()
        self._closed = False

    def publish(self, key: str) -> None:
        """Tell every stream that the function of this key is new, different or gone. Never waits."""
        for stream in self._streams:
            stream.mark(key)

    def close(self) -> None:
        """End every stream after what it has still to deliver."""
        self._closed = True
        for stream in self._streams:
            stream.wake.set()

    async def stream(self) -> AsyncIterator[FunctionEvent]:
        """Every function, `synced`, then changes until the caller stops or the provider closes."""
        stream = _Stream(self._keys())
        self._streams.add(stream)
        try:
            synced = False
            while True:
                while stream.pending:
                    event = self._next(stream)
                    if event:
                        yield event
                if not synced:
                    synced = True
                    yield FunctionEvent(kind="synced")
                    continue
                if self._closed:
                    return
                stream.wake.clear()
                await stream.wake.wait()
        finally:
            self._streams.discard(stream)

    def _next(self, stream: _Stream) -> FunctionEvent | None:
        """The oldest pending change as it stands now; None for a function that came and went unseen."""
        key = next(iter(stream.pending))
        del stream.pending[key]
        function = self._lookup(key)
        if function:
            stream.seen.add(key)
            return FunctionEvent(kind="changed", key=key, function=function)
        if key not in stream.seen:
            return None
        stream.seen.discard(key)
        return FunctionEvent(kind="removed", key=key)


class _Stream:
    """What one caller has still to hear."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.pending: dict[str, None] = dict.fromkeys(keys)
        self.seen: set[str] = set()
        self.wake = asyncio.Event()

    def mark(self, key: str) -> None:
        self.pending[key] = None
        self.wake.set()
