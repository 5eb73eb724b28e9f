"""The control process: composes provider, REST API, feed and metrics, and serves them until it is told to stop.

Run by the supervisor as `python -m penstock.control.process` with its settings in an environment variable. It opens
the control socket last, so that a connection there means that everything is up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import select
import signal
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from penstock.autoscaler.counts import new_identity
from penstock.autoscaler.learned import LearnedFile
from penstock.autoscaler.loads import Loads
from penstock.autoscaler.peers import Peers, new_session
from penstock.autoscaler.prometheus import PrometheusLoads
from penstock.autoscaler.scaler import Scaler
from penstock.autoscaler.sources import Sources
from penstock.autoscaler.usage import UsageSampler
from penstock.control.app import create_app, route_table
from penstock.control.feed import Feed
from penstock.control.metricfamilies import DeedsOfScaler, SettingsOfScaling, UseOfFunctions
from penstock.control.requestmetrics import RequestMetrics
from penstock.control.scrape import MetricsServer
from penstock.control.sockets import listen_unix
from penstock.control.storagework import StorageWork
from penstock.credentials import load_credentials
from penstock.errors import PenstockError
from penstock.providers.base import Provider
from penstock.providers.clock import SystemClock
from penstock.settings import REASON_VARIABLE, SETTINGS_VARIABLE, ServeSettings, restore_settings
from penstock.storage.handover import receive
from penstock.storage.leaving import leave
from penstock.storage.report import report
from penstock.telemetry import configure_logging
from penstock.wire.loop import run

log = logging.getLogger("penstock.control.process")  # not `__name__`, which is `__main__` here

KEEP_ALIVE = 120
"""Seconds that a gateway worker may keep an idle connection; its pool lets go earlier (`upstream_idle_timeout`)."""

SHUTDOWN_TIMEOUT = 5
"""Seconds for API requests in progress when the process stops; no client of the API waits longer for its answer."""


class HttpServer(uvicorn.Server):
    """uvicorn on a socket we opened. Signals stay ours: the process decides in which order things end."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE,
                timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
            )
        )
        self._listener = listener

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve inside the block; leaving it stops accepting and finishes what is in progress."""
        task = asyncio.create_task(self.serve([self._listener]))
        try:
            yield
        finally:
            self.should_exit = True
            await task


async def run_control(settings: ServeSettings, provider: Provider, stopping: asyncio.Event) -> None:
    """Serve until `stopping` is set, then end in reverse order of start. Raises SettingsError, ProviderUnavailable."""
    paths = settings.paths
    credentials = None if settings.no_auth else load_credentials(paths, os.environ)
    feed = Feed(provider, settings.default_policy)
    sampler = UsageSampler(provider, feed.functions, SystemClock(), named=settings.provider)
    identity = new_identity()
    peers = Peers(settings.peers, settings.metrics_port, identity) if settings.peers else None
    series = PrometheusLoads(settings.prometheus_url, SystemClock(), new_session)
    learned = LearnedFile(paths.learned, SystemClock())
    if settings.autoscaling:
        learned.load()
    sources = Sources(
        learned=learned,
        loads=Loads(cpu=sampler, series=series),
        enabled=settings.autoscaling,
        peers=peers,
        lead=provider.lead,
        holder=socket.gethostname(),
    )
    scaler = Scaler(provider, feed.functions, feed, SystemClock(), sources)
    feed.tell = scaler.saw
    storage = StorageWork(settings, provider, feed, scaler, credentials) if settings.storage.is_on else None
    table = route_table(provider, feed, scaler, stopping, storage.events if storage else None, credentials)
    requests = RequestMetrics(table)
    app = requests.around(create_app(table, credentials))
    scaling, use = SettingsOfScaling(feed.functions), UseOfFunctions(feed.functions, sampler)
    families = [scaling.lines, use.lines, requests.lines, DeedsOfScaler(scaler).lines]
    if storage:
        families.append(storage.lines)
    metrics = MetricsServer(feed, settings.wire, families, identity)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(metrics.close)
        metrics_port = await metrics.start(settings.host, settings.metrics_port)
        stack.push_async_callback(provider.close)
        await provider.start()
        stack.push_async_callback(feed.close)
        await feed.start(paths.feed_socket)
        await stack.enter_async_context(_running(sampler.run()))
        if storage:
            await stack.enter_async_context(storage.caller)
            for work in storage.works():
                await stack.enter_async_context(_running(work))
        if peers:
            stack.push_async_callback(peers.close)
        if settings.autoscaling:
            await stack.enter_async_context(_running(series.run()))
            await stack.enter_async_context(_running(learned.keep(scaler.learned)))
            await stack.enter_async_context(_running(scaler.run()))
        if settings.examples and settings.runs_images:
            log.warning(
                "the examples are left out: they are programs of this machine, %s runs images", settings.provider
            )
        elif settings.examples:
            await _deploy_examples(provider)
        await stack.enter_async_context(_running(report(settings.storage, os.environ, SystemClock())))
        await stack.enter_async_context(HttpServer(app, listen_unix(paths.control_socket)).running())
        log.info("control is up, metrics on port %d", metrics_port)
        await stopping.wait()


@contextlib.asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have something go on inside the block. Should it end by a defect, the log says so at once."""
    task = asyncio.create_task(work)
    task.add_done_callback(_report)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        log.error("%s has ended by a defect", task.get_coro(), exc_info=error)


async def _deploy_examples(provider: Provider) -> None:
    from penstock.examples import deploy_examples

    try:
        names = await deploy_examples(provider)
    except PenstockError as error:
        log.error("the examples could not be deployed: %s", error)
    else:
        log.info("examples deployed: %s", ", ".join(names))


async def _run(settings: ServeSettings) -> None:
    from penstock.providers.registry import create_provider

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await run_control(settings, create_provider(settings), stopping)


def main() -> None:
    """Entry point of the process. Exits 0 after SIGTERM, with the error's own code when it cannot start."""
    settings = restore_settings(os.environ[SETTINGS_VARIABLE])
    receive(os.environ)
    configure_logging(settings.log_level, "control")
    try:
        run(_run(settings))
    except PenstockError as error:
        log.error("control cannot run: %s", error)
        _tell_supervisor(str(error))
        leave(error.exit_code)
    leave(0)


def _tell_supervisor(reason: str) -> None:
    """Whoever typed `penstock serve` is told by it; a supervisor that does not listen is none of our trouble."""
    with contextlib.suppress(KeyError, ValueError, OSError):
        os.write(int(os.environ[REASON_VARIABLE]), reason.encode(errors="replace")[: select.PIPE_BUF])


if __name__ == "__main__":
    main()
