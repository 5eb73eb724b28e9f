"""Health and readiness annotations on real processes: an HTTP program whose answers are files that tests remove."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from penstock.model import DEFAULT_NAMESPACE, Function
from penstock.providers.local import LocalProvider
from tests.integration.providers.runtimes.harness import TIMEOUT, call, deployed, ended, running_provider, script
from tests.integration.providers.waiting import ready, until

PROGRAM = """
import http.server, os, pathlib
me = pathlib.Path(__file__).parent / os.environ["PORT"]

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        good = self.path == "/who" or (me / self.path[1:]).exists()
        body = f"{me.name} {os.getpid()}".encode() if good else b"its file was removed"
        self.send_response(200 if good else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
me.mkdir(exist_ok=True)  # the port may have been an earlier program's
for name in ("live", "ready"):
    (me / name).touch()
server.serve_forever()
"""
LIVE = {
    "com.openfaas.health.http.path": "/live",
    "com.openfaas.health.http.period": "200ms",
    "com.openfaas.health.http.timeoutSeconds": "60",
    "com.openfaas.health.http.failureThreshold": "2",
}
READY = {
    "com.openfaas.ready.http.path": "/ready",
    "com.openfaas.ready.http.period": "200ms",
    "com.openfaas.ready.http.timeoutSeconds": "60",
    "com.openfaas.ready.http.failureThreshold": "1",
}


async def two(provider: LocalProvider, tmp_path: Path, annotations: dict[str, str]) -> Function:
    """Two ready replicas of the program."""
    fields: dict[str, Any] = {"env_vars": {"mode": "http"}, "labels": {"com.openfaas.scale.min": "1"}}
    await deployed(provider, "f", script(tmp_path, PROGRAM), annotations=annotations, **fields)
    await provider.scale("f", DEFAULT_NAMESPACE, 2)
    return await ready(provider, "f", 2)


async def who(address: str) -> tuple[str, int]:
    """Port and pid of the program behind a replica."""
    status, body = await call(address, path="/who")
    assert status == 200
    port, pid = body.decode().split()
    return port, int(pid)


class Caller:
    """Calls one replica all the time, and keeps the statuses."""

    def __init__(self, address: str) -> None:
        self.statuses: list[int] = []
        self._over = False
        self._task = asyncio.create_task(self._call(address))

    async def _call(self, address: str) -> None:
        while not self._over:
            self.statuses.append((await call(address, path="/who"))[0])
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Raises what a call raised."""
        await until("a call was answered", lambda: bool(self.statuses) or self._task.done())
        self._over = True  # a call that is cancelled as it ends may go on, before Python 3.12
        await self._task
        assert set(self.statuses) == {200}


async def test_a_program_whose_health_file_is_removed_is_restarted_and_the_other_serves_on(tmp_path: Path) -> None:
    async with running_provider() as (provider, _):
        before = await two(provider, tmp_path, LIVE)
        ill, well = before.replicas
        port, pid = await who(ill.address)
        caller = Caller(well.address)
        watch = provider.watch()
        (tmp_path / port / "live").unlink()
        reasons: set[str] = set()
        async with asyncio.timeout(TIMEOUT):
            async for event in watch:
                now = next(one for one in event.function.replicas if one.id == ill.id) if event.function else ill
                reasons.add(now.reason)
                if now.restarts == 1 and now.state == "ready":
                    break
        after = await ready(provider, "f", 2)
        await caller.stop()
        assert "its health check failed 2 times in a row: /live answers 503: its file was removed" in reasons
        assert (after.replicas[0].id, after.replicas[0].restarts) == (ill.id, 1)
        assert after.replicas[1] == well
        assert (await who(after.replicas[0].address))[1] != pid


async def test_a_program_that_hangs_is_restarted(tmp_path: Path) -> None:
    async with running_provider() as (provider, _):
        annotations = {**LIVE, "com.openfaas.health.http.timeoutSeconds": "3"}
        before = await two(provider, tmp_path, annotations)
        _, pid = await who(before.replicas[0].address)
        os.kill(pid, signal.SIGSTOP)

        async def restarted() -> bool:
            function = await provider.get("f", DEFAULT_NAMESPACE)
            return function.replicas[0].restarts >= 1 and function.available == 2

        await until("the replica was restarted", restarted)
        await until("the program that hangs is gone", lambda: ended(pid))


async def test_a_program_that_is_not_ready_leaves_the_routes_and_comes_back(tmp_path: Path) -> None:
    async with running_provider() as (provider, _):
        before = await two(provider, tmp_path, READY)
        out, well = before.replicas
        port, pid = await who(out.address)
        caller = Caller(well.address)
        (tmp_path / port / "ready").unlink()

        async def endpoints(wanted: set[str]) -> bool:
            return set((await provider.get("f", DEFAULT_NAMESPACE)).endpoints) == wanted

        await until("it has left the routes", lambda: endpoints({well.address}))
        replica = (await provider.get("f", DEFAULT_NAMESPACE)).replicas[0]
        assert replica.state == "starting"
        assert replica.reason == "its readiness check fails: /ready answers 503: its file was removed"
        (tmp_path / port / "ready").touch()
        await until("it is back", lambda: endpoints({out.address, well.address}))
        await caller.stop()
        assert await who(out.address) == (port, pid)
        assert all(one.restarts == 0 for one in (await provider.get("f", DEFAULT_NAMESPACE)).replicas)
