"""The metrics port: `/metrics`, `/loads` and `/healthz`, without credentials, on a listener of its own (contract gateway §1.1).

Served by our own HTTP server, because this port may face a network and has to hold its limits like the public one.
`control.process` starts it; what is rendered comes from the feed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from penstock.autoscaler.counts import new_identity
from penstock.control.feed import Feed
from penstock.control.loadpage import LoadPage
from penstock.control.metrics import CONTENT_TYPE, Lines, exposition
from penstock.core.headers import Field
from penstock.errors import SettingsError
from penstock.settings import WireSettings
from penstock.wire.exchange import Exchange
from penstock.wire.server import Server

log = logging.getLogger(__name__)

FLUSH_TIMEOUT = 1.0
"""Seconds that a scrape waits for the workers' counters; Prometheus itself gives up after 10."""

DRAIN_TIMEOUT = 2.0
"""Seconds for a scrape in progress when the process stops."""

_TEXT: tuple[Field, ...] = ((b"Content-Type", b"text/plain; charset=utf-8"),)
_ERROR: tuple[Field, ...] = (*_TEXT, (b"X-Content-Type-Options", b"nosniff"))
_METRICS: tuple[Field, ...] = ((b"Content-Type", CONTENT_TYPE.encode()),)


class MetricsServer:
    """Answers scrapes; those that come while one is being prepared share it, so that many cost no more than one."""

    def __init__(self, feed: Feed, settings: WireSettings, more: Sequence[Lines] = (), identity: str = "") -> None:
        """`more` are families of metrics besides those of the feed."""
        self.identity = identity or new_identity()
        """Of this process, by which `/loads` lets itself and others be told apart."""
        self._feed = feed
        self._loads = LoadPage(feed, self.identity)
        self._more = more
        self._server = Server(self._serve, settings)
        self._waiting: list[Exchange] = []
        self._scrape: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port, which the system chooses for 0. Raises SettingsError."""
        try:
            return await self._server.listen_tcp(host, port)
        except OSError as error:
            raise SettingsError(f"metrics on {host}:{port}: cannot listen: {error}") from error

    async def close(self) -> None:
        await self._server.drain(DRAIN_TIMEOUT)
        self._loads.close()
        if self._scrape:
            self._scrape.cancel()

    def _serve(self, exchange: Exchange) -> None:
        path = exchange.request.path
        if path not in (b"/metrics", b"/loads", b"/healthz"):
            exchange.respond(404, _ERROR, b"404 page not found\n")
        elif exchange.request.method != b"GET":
            exchange.respond(405)
        elif path == b"/healthz":
            exchange.respond(200, _TEXT, b"OK")
        elif path == b"/loads":
            self._loads.ask(exchange)
        else:
            self._waiting.append(exchange)
            if not self._scrape or self._scrape.done():
                self._scrape = asyncio.create_task(self._answer_all())

    async def _answer_all(self) -> None:
        """Answer everyone who waits now. Always text format 0.0.4, whatever a scraper would accept: OpenMetrics would
        rename `gateway_function_invocation_started`, on which dashboards rely (contract gateway §13.33)."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            try:
                await self._feed.flush(FLUSH_TIMEOUT)
                status, fields, body = 200, _METRICS, await exposition(self._feed, *self._more)
            except Exception:
                log.exception("metrics could not be rendered")
                status, fields, body = 500, _ERROR, b"metrics could not be rendered; see the gateway's log\n"
            for exchange in waiting:
                exchange.respond(status, fields, body)
