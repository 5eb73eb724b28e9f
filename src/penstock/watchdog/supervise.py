"""One long-lived program kept running: started, watched until its port answers, restarted with back-off when it ends.

The http mode owns one. Readiness is a connection that the program accepts, nothing less; a request is never sent to find out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.core.backoff import Backoff
from penstock.core.duration import format_duration
from penstock.watchdog.pipes import PipeReader, Pipes
from penstock.watchdog.spawn import Child, SpawnFailed, describe_exit

if TYPE_CHECKING:
    from penstock.watchdog.modes import Context

PROBE_FIRST, PROBE_MOST = 0.005, 0.05
"""Seconds between two attempts to connect: a cold start must not wait for a poll."""
PROBE_TIMEOUT = 1.0
"""Seconds for one attempt; a listener with a full queue counts as not ready."""
TERM_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL at the end, when no request is in flight any more."""


class Supervised:
    """The program. `reason` says why it is not ready and is empty while it is."""

    def __init__(self, context: Context, address: str, variables: Mapping[bytes, bytes]) -> None:
        self.reason = "starting"
        self._context = context
        self._address = address
        self._variables = variables
        self._child: Child | None = None
        self._stdin = -1
        self._streams: list[PipeReader] = []
        self._backoff = Backoff()
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None
        self._gone = asyncio.Event()
        self._gone.set()
        self._stopping = False

    def start(self) -> None:
        """Start the program and go on starting it."""
        self._task = self._context.loop.create_task(self._bring_up(0.0))

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL after the grace."""
        self._stopping = True
        self.reason = "stopping"
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._child is not None:
            self._child.send(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TERM_GRACE):
                    await self._gone.wait()
        if self._child is not None:
            self._child.kill()
        await self._gone.wait()

    def forward(self, number: int) -> None:
        """A signal for the program, if it runs."""
        if self._child is not None:
            self._child.notify(number)

    async def _bring_up(self, delay: float) -> None:
        """One start: wait, look whether the address is free, spawn, and poll until it answers."""
        await asyncio.sleep(delay)
        if is_local(self._address) and await answers(self._address):
            self._retry(f"{self._address} is in use by another process, so the program was not started")
            return
        try:
            self._spawn()
        except (SpawnFailed, OSError) as error:
            self._retry(str(error))
            return
        self.reason = f"starting: nothing answers at {self._address} yet"
        pause = PROBE_FIRST
        while not await answers(self._address):
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, PROBE_MOST)
        self.reason = ""

    def _spawn(self) -> None:
        """The program with a stdin that stays open and silent (contract watchdog §2.6) and its output in our log."""
        command, *arguments = self._context.settings.fprocess.split(" ")
        self._context.log.line(f"Forking: {command}, arguments: [{' '.join(arguments)}]")
        with Pipes() as pipes:
            (stdin, hold), (stdout, out), (stderr, err) = pipes.inward(), pipes.outward(), pipes.outward()
            self._child = self._context.spawner.spawn(self._variables, (stdin, stdout, stderr), self._exited)
        self._stdin = hold
        self._gone.clear()
        self._since = self._context.loop.time()
        for stream, fd in (("stdout", out), ("stderr", err)):
            lines = self._context.log.lines(stream)
            self._streams.append(PipeReader(self._context.loop, fd, lines.feed, lines.end))

    def _exited(self, status: int) -> None:
        for reader in self._streams:
            reader.conclude()
        self._streams.clear()
        os.close(self._stdin)
        self._child = None
        self._gone.set()
        if self._stopping:
            return
        if self._task is not None:
            self._task.cancel()
        self._retry(f"the program ended: {describe_exit(status)}", self._context.loop.time() - self._since)

    def _retry(self, reason: str, ran: float = 0.0) -> None:
        delay = self._backoff.pause(ran)
        self.reason = reason
        self._context.log.line(f"{reason}; next start in {format_duration(delay)}")
        self._task = self._context.loop.create_task(self._bring_up(delay))


async def answers(address: str) -> bool:
    """Whether something accepts connections at `unix:/path` or `host:port`."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            if address.startswith("unix:"):
                _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            else:
                host, _, port = address.rpartition(":")
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, TimeoutError):
        return False
    own, peer = writer.get_extra_info("sockname"), writer.get_extra_info("peername")
    writer.close()
    # A port from the ephemeral range can be connected to itself while nobody listens on it.
    return address.startswith("unix:") or own != peer


def is_local(address: str) -> bool:
    """Whether only this machine's programs can listen at the address."""
    host = address.rpartition(":")[0].strip("[]")
    return address.startswith("unix:") or host in ("localhost", "::1") or host.startswith("127.")


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
