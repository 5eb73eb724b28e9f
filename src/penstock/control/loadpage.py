"""`/loads` on the metrics port: what this gateway counts, for the one that scales (`autoscaler.peers` reads it)."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import msgspec

from penstock.autoscaler.counts import Counts
from penstock.control.metrics import Totals
from penstock.core.headers import Field
from penstock.wire.exchange import Exchange

log = logging.getLogger(__name__)

FLUSH_TIMEOUT = 0.25
"""Seconds that workers' counters are waited for, which is less than whoever asks waits."""

_JSON: tuple[Field, ...] = ((b"Content-Type", b"application/json"),)


class Source(Protocol):
    """The feed."""

    @property
    def totals(self) -> Totals: ...

    async def flush(self, timeout: float) -> object: ...

    def inflight(self) -> dict[str, int]: ...


class LoadPage:
    """Those who ask while an answer is being prepared share the next one."""

    def __init__(self, source: Source, identity: str) -> None:
        self._source = source
        self._identity = identity
        self._waiting: list[Exchange] = []
        self._answering: asyncio.Task[None] | None = None

    def ask(self, exchange: Exchange) -> None:
        self._waiting.append(exchange)
        if not self._answering or self._answering.done():
            self._answering = asyncio.create_task(self._answer_all())

    def close(self) -> None:
        if self._answering:
            self._answering.cancel()

    async def _answer_all(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                await self._source.flush(FLUSH_TIMEOUT)
                status, body = 200, self._render()
            except Exception:
                log.exception("loads could not be told")
                status, body = 500, b"{}"
            for exchange in waiting:
                exchange.respond(status, _JSON, body)

    def _render(self) -> bytes:
        totals = self._source.totals
        return msgspec.json.encode(Counts(self._identity, totals.started, totals.busy, self._source.inflight()))
