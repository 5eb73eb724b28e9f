"""What the control process does, inside this one: its sockets, its start, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import stat
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest

from penstock.control.process import _running, run_control
from penstock.control.sockets import listen_unix
from penstock.errors import ProviderUnavailable, SettingsError
from penstock.model import LogLine, LogQuery
from penstock.providers.memory import MemoryProvider
from penstock.settings import ServeSettings
from tests.unit.control.support import settings_for, until, within


async def metrics_port(caplog: pytest.LogCaptureFixture) -> int:
    """The port that the system chose for a control process inside this one."""
    said = "control is up, metrics on port "

    def ports() -> list[str]:
        messages = [record.getMessage() for record in caplog.records]
        return [message.removeprefix(said) for message in messages if message.startswith(said)]

    await until(ports, "control's start")
    return int(ports()[0])


class Running:
    """A control process inside this one."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.provider = MemoryProvider()
        self.stopping = asyncio.Event()
        self.task = asyncio.create_task(run_control(settings, self.provider, self.stopping))

    async def is_up(self) -> None:
        """Wait until the control socket accepts connections."""
        path = self.settings.paths.control_socket
        while True:
            if self.task.done():
                self.task.result()
            try:
                _, writer = await asyncio.open_unix_connection(path)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                writer.close()
                return

    def session(self, authorized: bool = True) -> aiohttp.ClientSession:
        connector = aiohttp.UnixConnector(str(self.settings.paths.control_socket))
        headers = {}
        if authorized:
            password = self.settings.paths.password_file.read_text().strip()
            headers["Authorization"] = aiohttp.encode_basic_auth("admin", password)
        return aiohttp.ClientSession("http://localhost", connector=connector, headers=headers)

    async def stop(self) -> None:
        self.stopping.set()
        await within(self.task)


@contextlib.asynccontextmanager
async def control(directory: Path, **changes: object) -> AsyncIterator[Running]:
    running = Running(settings_for(directory, **changes))
    try:
        await within(running.is_up())
        yield running
    finally:
        await running.stop()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_api_is_served_on_a_private_socket_behind_the_generated_password(directory: Path) -> None:
    async with control(directory) as running:
        assert mode_of(running.settings.paths.control_socket) == 0o600
        assert mode_of(running.settings.paths.run) == 0o700
        async with running.session() as session:
            async with session.post("/system/functions", json={"service": "cat", "envProcess": "cat"}) as answer:
                assert (answer.status, await answer.read()) == (202, b"")
            async with session.get("/system/functions") as answer:
                assert [function["name"] for function in await answer.json()] == ["cat"]
        async with running.session(authorized=False) as session, session.get("/system/functions") as answer:
            assert (answer.status, await answer.read()) == (401, b"invalid credentials")


async def test_metrics_are_served_on_their_own_port_without_credentials(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "penstock.control.process")
    async with control(directory), aiohttp.ClientSession() as session:
        address = f"http://127.0.0.1:{await metrics_port(caplog)}"
        async with session.get(f"{address}/metrics") as answer:
            assert answer.status == 200
            assert "gateway_functions_seconds" in await answer.text()
        async with session.get(f"{address}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "OK")
        async with session.get(f"{address}/system/functions") as answer:
            assert answer.status == 404


@pytest.mark.parametrize("provider", ["docker", "swarm"])
async def test_the_examples_are_left_out_where_functions_are_images(
    directory: Path, provider: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with control(directory, examples=True, provider=provider) as running:
        assert await running.provider.list("openfaas-fn") == []
    said = [record.getMessage() for record in caplog.records if "example" in record.getMessage()]
    assert said == [f"the examples are left out: they are programs of this machine, {provider} runs images"]


async def test_sockets_left_by_a_process_that_was_killed_are_replaced(directory: Path) -> None:
    paths = settings_for(directory).paths
    for path in (paths.control_socket, paths.feed_socket):
        listen_unix(path).close()
        assert path.exists()
    async with control(directory) as running, running.session() as session, session.get("/healthz") as answer:
        assert answer.status == 200


async def test_without_authentication_no_password_is_made(directory: Path) -> None:
    async with control(directory, no_auth=True) as running:
        session = running.session(authorized=False)
        async with session, session.get("/system/functions", headers={"Authorization": "Bearer "}) as answer:
            assert answer.status == 200
        assert not running.settings.paths.auth.exists()


async def test_stopping_ends_a_log_stream_that_follows_with_a_whole_answer(directory: Path) -> None:
    async with control(directory) as running, running.session() as session:
        async with session.post("/system/functions", json={"service": "cat", "envProcess": "cat"}) as answer:
            assert answer.status == 202
        async with session.get("/system/logs?name=cat&follow=1") as answer:
            assert answer.headers["Content-Type"] == "application/x-ndjson"
            running.stopping.set()
            assert await within(answer.read()) == b""


async def test_a_client_that_hangs_up_while_it_follows_a_silent_log_ends_the_providers_iterator(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, closed = asyncio.Event(), asyncio.Event()

    async def silent(query: LogQuery) -> AsyncIterator[LogLine]:
        opened.set()
        try:
            await asyncio.Event().wait()
            yield LogLine(name="", namespace="", instance="", timestamp=datetime.now(UTC), text="")
        finally:
            closed.set()

    async with control(directory) as running, running.session() as session:
        monkeypatch.setattr(running.provider, "logs", silent)
        async with session.post("/system/functions", json={"service": "cat", "envProcess": "cat"}) as answer:
            assert answer.status == 202
        answer = await session.get("/system/logs?name=cat&follow=1")
        await within(opened.wait())
        answer.close()
        await within(closed.wait())


async def test_stopping_closes_the_provider_and_frees_the_port(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "penstock.control.process")
    async with control(directory) as running:
        port = await metrics_port(caplog)
    assert [function async for function in running.provider.watch() if function.kind != "synced"] == []
    socket.create_server(("127.0.0.1", port)).close()


async def test_a_provider_that_cannot_start_ends_the_process_and_is_closed(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running(settings_for(directory))

    async def fail() -> None:
        raise ProviderUnavailable("no engine here")

    monkeypatch.setattr(running.provider, "start", fail)
    with pytest.raises(ProviderUnavailable):
        await within(running.task)
    assert not running.settings.paths.control_socket.exists()


async def test_a_metrics_port_in_use_is_a_settings_error_that_names_it(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"127.0.0.1:{port}: cannot listen"):
            await within(Running(settings_for(directory, metrics_port=port)).task)


async def test_missing_mounted_credentials_are_a_settings_error(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("secret_mount_path", str(directory / "nowhere"))
    with pytest.raises(SettingsError, match="basic-auth-user cannot be read"):
        await within(Running(settings_for(directory)).task)


async def test_work_that_ends_by_a_defect_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async def defective() -> None:
        raise RuntimeError("a defect")

    async with _running(defective()):
        await until(lambda: "a defect" in caplog.text)
    assert "defective" in caplog.text


async def test_work_that_is_ended_is_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    async with _running(asyncio.sleep(600)):
        await asyncio.sleep(0)
    assert not caplog.records
