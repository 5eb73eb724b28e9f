"""A gateway worker: one process, one event loop, one public port.

Started by the supervisor as `python -m penstock.gateway.worker INDEX`; puts together the server, the route feed and what
answers requests, and drains when it is told to stop. It makes no decision of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import importlib
import logging
import os
import resource
import signal
import sys

from penstock.core.routing import in_function_branch
from penstock.gateway.byreference import ByReference, Objects
from penstock.gateway.callers import Callers
from penstock.gateway.counters import WorkerCounters
from penstock.gateway.feed import Feed
from penstock.gateway.invoke import Invoker
from penstock.gateway.routes import RouteTable
from penstock.gateway.upstream import ControlProxy
from penstock.gateway.wakeup import Wakeup
from penstock.model import DEFAULT_NAMESPACE
from penstock.settings import SETTINGS_VARIABLE, ServeSettings, restore_settings
from penstock.storage.handover import receive
from penstock.storage.leaving import leave
from penstock.telemetry import configure_logging
from penstock.wire.client import Pool
from penstock.wire.exchange import Exchange
from penstock.wire.loop import keep_buffers, run
from penstock.wire.message import origin_form
from penstock.wire.server import Server
from penstock.wire.timeouts import Timers

PICTURE_PATIENCE = 30.0
"""Seconds that a worker waits for its first picture of the functions before it listens: one that starts again beside
others must not answer 503 for what they serve, however slow the machine is. Without control it listens in the end."""

PICTURE_PATIENCE_ALONE = 2.0
"""The same for the only worker: while it waits nobody answers at all, and a 503 says more than a refused connection."""

_log = logging.getLogger(__name__)

SPARE_FILES = 512
"""File descriptors kept for connections to replicas, the feed and the interpreter when client connections are limited."""


class Worker:
    """The parts of one worker. Needs a running event loop."""

    def __init__(self, settings: ServeSettings, index: int) -> None:
        self._settings = settings
        timers = Timers(asyncio.get_running_loop())
        counters = WorkerCounters()

        def open_pool(address: str) -> Pool:
            return Pool(address, settings.wire, timers)

        self.routes = RouteTable(open_pool, counters, DEFAULT_NAMESPACE)
        feed_path = str(settings.paths.feed_socket)
        self.feed = Feed(feed_path, index, self.routes, counters, lambda: self.server.connections)
        callers = Callers(settings.paths, os.environ, settings.no_auth)
        self.by_reference = ByReference(self.routes, callers, settings.storage.allowed, self._open_store)
        self.invoker = Invoker(self.routes, Wakeup(self.feed.wake), timers, self.by_reference)
        self._invoke = self.invoker.invoke
        self._proxy = ControlProxy(open_pool(f"unix:{settings.paths.control_socket}")).relay
        self.server = Server(self.answer, settings.wire)

    def answer(self, exchange: Exchange) -> None:
        """One request: to a function, or else to control."""
        if in_function_branch(exchange.request.target) or in_function_branch(origin_form(exchange.request.target)):
            self._invoke(exchange)
        elif exchange.request.target == b"/readyz":
            exchange.respond(200 if self.routes.synced and not self.server.draining else 503)
        elif exchange.request.target == b"/healthz" and not self.routes.synced:
            fields = [(b"Retry-After", b"1"), (b"X-OpenFaaS-Internal", b"gateway")]
            exchange.respond(503, fields, b"the gateway has not heard of its functions yet\n")
        else:
            self._proxy(exchange)

    def _open_store(self) -> Objects:
        """In a thread, and only where there is object storage: these imports take a tenth of a second."""
        from penstock.storage.objects import ObjectStore

        with contextlib.suppress(ImportError):  # whoever uses the store is told what is missing
            importlib.import_module("obstore.store")
        return ObjectStore(self._settings.storage, os.environ)

    async def serve(self) -> bool:
        """Serve until SIGTERM or SIGINT, then drain. False when the drain had to cut requests. A second signal ends at once."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            if stop.is_set():
                os._exit(1)
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        feed = loop.create_task(self.feed.run())
        storage = loop.create_task(self.by_reference.prepare())
        await self._picture_or(stop)
        if stop.is_set():
            feed.cancel()
            storage.cancel()
            return True
        port = await self.server.listen_tcp(self._settings.host, self._settings.port, reuse_port=True)
        _log.debug("serving on %s:%d", self._settings.host, port)
        await stop.wait()
        self.server.draining = True
        await asyncio.sleep(self._settings.wire.drain_delay)
        complete = await self.server.drain(self._settings.wire.drain_timeout)
        await self.by_reference.close()
        feed.cancel()
        storage.cancel()
        return complete

    async def _picture_or(self, stop: asyncio.Event) -> None:
        """Wait for the first picture of the functions or the order to stop, for no longer than is good for clients."""
        patience = PICTURE_PATIENCE if self._settings.workers > 1 else PICTURE_PATIENCE_ALONE
        waits = [asyncio.create_task(event.wait()) for event in (self.routes.first_picture, stop)]
        await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


async def _main(settings: ServeSettings, index: int) -> int:
    return 0 if await Worker(settings, index).serve() else 1


def within_file_limit(settings: ServeSettings) -> ServeSettings:
    """Raise the limit of open files as far as allowed, and accept no more connections than it has room for: running out
    of descriptors would hurt every request, a refused connection only one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = max(hard - SPARE_FILES, hard // 2)
    wanted = settings.wire.max_connections or room
    return dataclasses.replace(settings, wire=dataclasses.replace(settings.wire, max_connections=min(wanted, room)))


def main() -> None:
    """Entry of the process; settings come from `penstock.settings.SETTINGS_VARIABLE`."""
    settings = within_file_limit(restore_settings(os.environ[SETTINGS_VARIABLE]))
    receive(os.environ)
    index = int(sys.argv[1])
    configure_logging(settings.log_level, f"worker-{index}")
    keep_buffers()
    leave(run(_main(settings, index)))


if __name__ == "__main__":
    main()
