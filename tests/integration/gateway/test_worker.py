"""The worker as a process: when it listens, and that it drains on SIGTERM and stops at once on a second one."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest

from penstock.gateway.messages import Counters, Flush, Synced
from penstock.settings import dump_settings
from tests.unit.gateway.support import DEADLINE, Client, Gateway, Recorder, route

PATIENT = "from penstock.gateway import worker; worker.PICTURE_PATIENCE_ALONE = 600; worker.main()"
"""A worker that does not listen, however slow the test is, before it was told of the functions."""


class WorkerProcess:
    """A worker process with one function `x`, fed by a scripted control."""

    def __init__(
        self, gateway: Gateway, function: Recorder, program: tuple[str, ...] = ("-c", PATIENT), drain_delay: float = 0.0
    ) -> None:
        self.function = function
        self._held = _port_of_our_own()
        self.port = int(self._held.getsockname()[1])
        wire = dataclasses.replace(gateway.settings.wire, drain_timeout=DEADLINE, drain_delay=drain_delay)
        settings = dataclasses.replace(gateway.settings, port=self.port, wire=wire)
        self.process = subprocess.Popen(
            [sys.executable, *program, "0"],
            env={**os.environ, "PENSTOCK_SERVE_SETTINGS": dump_settings(settings)},
            stdin=subprocess.DEVNULL,
        )

    async def client(self) -> Client:
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    return await Client.connect(self.port)
                except ConnectionRefusedError:
                    await asyncio.sleep(0.01)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._held.close()

    async def code(self) -> int:
        return await asyncio.to_thread(self.process.wait, DEADLINE)


@pytest.fixture
async def worker() -> AsyncIterator[WorkerProcess]:
    gateway = Gateway()
    await gateway.control.start()
    function = Recorder()
    function.hold = True
    running = WorkerProcess(gateway, function)
    try:
        session = await gateway.control.session()
        session.send(route("x.openfaas-fn", await gateway.replica(function)), Synced())
        yield running
    finally:
        running.end()
        await gateway.stop()


async def test_a_worker_does_not_listen_before_it_knows_the_functions() -> None:
    gateway = Gateway()
    await gateway.control.start()
    function = Recorder()
    running = WorkerProcess(gateway, function)
    try:
        session = await gateway.control.session()
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(running.port)
        session.send(route("x.openfaas-fn", await gateway.replica(function)), Synced())
        client = await running.client()
        client.send("GET", "/function/x")
        assert (await client.answer()).status == 200
        client.close()
    finally:
        running.end()
        await gateway.stop()


async def test_a_worker_without_control_listens_in_the_end_and_answers_503() -> None:
    gateway = Gateway()
    running = WorkerProcess(gateway, Recorder(), ("-m", "penstock.gateway.worker"))
    try:
        client = await running.client()
        client.send("GET", "/function/x")
        assert (await client.answer()).status == 503
        client.close()
    finally:
        running.end()
        await gateway.stop()


async def test_a_worker_that_still_waits_for_the_functions_stops_at_once() -> None:
    gateway = Gateway()
    await gateway.control.start()
    running = WorkerProcess(gateway, Recorder())
    try:
        await gateway.control.session()
        running.process.send_signal(signal.SIGTERM)
        assert await running.code() == 0
    finally:
        running.end()
        await gateway.stop()


async def test_a_worker_among_others_waits_longer_for_the_functions() -> None:
    gateway = Gateway(workers=2)
    await gateway.control.start()
    hasty = "from penstock.gateway import worker; worker.PICTURE_PATIENCE_ALONE = 0; worker.PICTURE_PATIENCE = 600; worker.main()"
    running = WorkerProcess(gateway, Recorder(), ("-c", hasty))
    try:
        session = await gateway.control.session()
        session.send(Flush(id=1))
        await session.expect(Counters)  # sent by a turn of the loop in which one that is alone would listen already
        with pytest.raises(ConnectionRefusedError):
            await Client.connect(running.port)
        session.send(Synced())
        (await running.client()).close()
    finally:
        running.end()
        await gateway.stop()


async def test_a_worker_told_to_stop_finishes_what_is_in_flight(worker: WorkerProcess) -> None:
    client = await worker.client()
    client.send("GET", "/function/x")
    await worker.function.until_held(1)
    worker.process.send_signal(signal.SIGTERM)
    await _refused(worker.port)
    worker.function.release(b"finished")
    answer = await client.answer()
    assert (answer.status, answer.body, answer.get("connection")) == (200, b"finished", "close")
    assert await worker.code() == 0


async def test_a_worker_told_twice_stops_at_once(worker: WorkerProcess) -> None:
    client = await worker.client()
    client.send("GET", "/function/x")
    await worker.function.until_held(1)
    worker.process.send_signal(signal.SIGTERM)
    await _refused(worker.port)
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.code() == 1


async def test_an_idle_worker_stops_without_delay(worker: WorkerProcess) -> None:
    client = await worker.client()
    client.send("GET", "/function/missing")  # once it is answered, the worker knows of the connection
    assert (await client.answer()).status == 404
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.code() == 0
    assert await client.reader.read() == b""


async def test_a_worker_that_is_to_stop_later_serves_new_connections_until_then_and_is_not_ready() -> None:
    gateway = Gateway()
    await gateway.control.start()
    function = Recorder()
    running = WorkerProcess(gateway, function, drain_delay=DEADLINE)
    try:
        session = await gateway.control.session()
        session.send(route("x.openfaas-fn", await gateway.replica(function)), Synced())
        assert await _status(await running.client(), "/readyz") == (200, "")
        running.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DEADLINE):
            while await _status(await running.client(), "/readyz") == (200, ""):
                pass
        assert await _status(await running.client(), "/readyz") == (503, "close")
        assert await _status(await running.client(), "/function/x") == (200, "close")
        running.process.send_signal(signal.SIGTERM)
        assert await running.code() == 1
    finally:
        running.end()
        await gateway.stop()


async def test_a_worker_stops_when_the_delay_is_over() -> None:
    gateway = Gateway()
    await gateway.control.start()
    running = WorkerProcess(gateway, Recorder(), drain_delay=0.1)
    try:
        session = await gateway.control.session()
        session.send(Synced())
        (await running.client()).close()
        running.process.send_signal(signal.SIGTERM)
        assert await running.code() == 0
    finally:
        running.end()
        await gateway.stop()


async def _status(client: Client, path: str) -> tuple[int, str]:
    """The answer's status, and what it says of the connection, which is closed."""
    client.send("GET", path)
    answer = await client.answer()
    client.close()
    return answer.status, answer.get("connection")


async def _refused(port: int) -> None:
    """Until the worker takes no more connections."""
    async with asyncio.timeout(DEADLINE):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except (ConnectionRefusedError, ConnectionResetError):
                return
            writer.transport.abort()
            await asyncio.sleep(0.01)


def _port_of_our_own() -> socket.socket:
    """Holds a port, without listening, that only those may share who say so as workers do."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind(("127.0.0.1", 0))
    return held
