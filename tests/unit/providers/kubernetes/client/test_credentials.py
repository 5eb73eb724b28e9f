"""Tokens that are renewed when they are over or refused: by real programs and files, before a server that knows only some."""

from __future__ import annotations

import asyncio
import os
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from penstock.providers.kubernetes.client.connect import Connection, connect
from penstock.providers.kubernetes.client.credentials import AGAIN, FILE_HOLDS
from penstock.providers.kubernetes.client.errors import CredentialsUnavailable
from penstock.testing.clock import FakeClock
from tests.unit.providers.kubernetes.client.scripted_api import listening

V1 = "client.authentication.k8s.io/v1"


class World:
    """A server that knows some tokens, and a client whose program, or file, gives those of `next`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FakeClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.known: set[str] = set()
        self.seen: list[str] = []
        self.connection: Connection

    def give(self, token: str, lasts: float | None = None) -> None:
        (self.folder / "token").write_text(token)
        status: dict[str, Any] = {"token": token}
        if lasts is not None:
            status["expirationTimestamp"] = (self.clock.now() + timedelta(seconds=lasts)).isoformat()
        document = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
        (self.folder / "next").write_bytes(msgspec.json.encode(document))

    def fail(self) -> None:
        (self.folder / "next").unlink()

    @property
    def runs(self) -> int:
        """How often the program ran."""
        path = self.folder / "runs"
        return len(path.read_text().split()) if path.exists() else 0

    async def get(self) -> int:
        return (await self.connection.client.get("/")).status_code

    async def answer(self, request: web.Request) -> web.StreamResponse:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.seen.append(token)
        return web.Response(status=200 if token in self.known else 401)


@asynccontextmanager
async def world(folder: Path, user: str) -> AsyncIterator[World]:
    there = World(folder)
    async with listening() as script:
        script.answers = [there.answer]
        (folder / "kubeconfig").write_text(
            f"{{current-context: x, contexts: [{{name: x, context: {{cluster: c, user: u}}}}], "
            f"clusters: [{{name: c, cluster: {{server: '{script.url}'}}}}], users: [{{name: u, user: {user}}}]}}"
        )
        there.give("one")
        there.connection = connect(
            "", {"KUBECONFIG": str(folder / "kubeconfig"), "PATH": os.environ["PATH"]}, there.clock
        )
        try:
            yield there
        finally:
            await there.connection.close()


@pytest.fixture
async def programmed(tmp_path: Path) -> AsyncIterator[World]:
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\ncd {tmp_path}\necho run >> runs\n[ -p hold ] && cat hold\ncat next\n")
    plugin.chmod(0o755)
    async with world(tmp_path, f"{{exec: {{apiVersion: {V1}, command: ./plugin}}}}") as there:
        yield there


@pytest.fixture
async def filed(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, "{tokenFile: token}") as there:
        yield there


async def test_a_program_is_asked_once_for_all(programmed: World) -> None:
    programmed.known = {"one"}
    assert await asyncio.gather(*(programmed.get() for _ in range(5))) == [200] * 5
    assert await programmed.get() == 200
    assert programmed.runs == 1


async def test_a_token_that_is_over_is_asked_for_again(programmed: World) -> None:
    programmed.known = {"one", "two"}
    programmed.give("one", lasts=60)
    await programmed.get()
    await programmed.clock.advance(50)
    await programmed.get()
    programmed.give("two", lasts=60)
    await programmed.clock.advance(9)
    await programmed.get()
    assert (programmed.seen, programmed.runs) == (["one", "one", "two"], 2)


async def test_a_token_that_is_refused_is_asked_for_again(programmed: World) -> None:
    programmed.known = {"one"}
    await programmed.get()
    programmed.known = {"two"}
    programmed.give("two")
    assert await asyncio.gather(*(programmed.get() for _ in range(3))) == [200] * 3
    assert programmed.runs == 2
    assert set(programmed.seen) == {"one", "two"}


async def test_a_program_whose_tokens_are_refused_is_not_run_for_each_request(programmed: World) -> None:
    assert [await programmed.get() for _ in range(5)] == [401] * 5
    assert programmed.runs == 2
    await programmed.clock.advance(AGAIN)
    programmed.known = {"two"}
    programmed.give("two")
    assert await programmed.get() == 200
    assert programmed.runs == 3


async def test_a_program_that_fails_is_not_run_for_each_request(programmed: World) -> None:
    programmed.fail()
    for _ in range(3):
        with pytest.raises(CredentialsUnavailable, match="next: No such file"):
            await programmed.get()
    assert (programmed.runs, programmed.seen) == (1, [])
    programmed.known = {"one"}
    programmed.give("one")
    await programmed.clock.advance(AGAIN)
    assert await programmed.get() == 200


async def test_whoever_has_no_more_time_leaves_the_program_to_the_others(programmed: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hold")
    programmed.known = {"one"}
    hasty, patient = asyncio.create_task(programmed.get()), asyncio.create_task(programmed.get())
    hold = await asyncio.to_thread(os.open, tmp_path / "hold", os.O_WRONLY)
    hasty.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hasty
    os.close(hold)
    assert (await patient, programmed.runs) == (200, 1)


async def test_a_program_is_ended_with_the_connection(programmed: World, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hold")
    asking = asyncio.create_task(programmed.get())
    hold = await asyncio.to_thread(os.open, tmp_path / "hold", os.O_WRONLY)
    await programmed.connection.close()
    with pytest.raises(CredentialsUnavailable, match="is closed"):
        await asking
    with pytest.raises(BrokenPipeError):
        os.write(hold, b"x")
    os.close(hold)


async def test_a_file_is_read_again_after_a_while_and_when_its_token_is_refused(filed: World) -> None:
    filed.known = {"one", "two"}
    await filed.get()
    filed.give("two")
    await filed.get()
    await filed.clock.advance(FILE_HOLDS)
    await filed.get()
    assert filed.seen == ["one", "one", "two"]
    filed.known = {"three"}
    filed.give("three")
    assert await filed.get() == 200
    assert filed.seen[3:] == ["two", "three"]
    filed.known = set()
    assert await filed.get() == 401
    assert filed.seen[5:] == ["three"]


async def test_while_a_file_is_away_its_last_token_is_used(filed: World, caplog: pytest.LogCaptureFixture) -> None:
    filed.known = {"one"}
    (filed.folder / "token").unlink()
    await filed.clock.advance(FILE_HOLDS)
    assert await filed.get() == 200
    assert "the token of before is used: the token in" in caplog.text
    filed.known = set()
    with pytest.raises(CredentialsUnavailable, match="cannot be read"):
        await filed.get()


async def test_a_name_and_a_password_are_shown(tmp_path: Path) -> None:
    async with world(tmp_path, "{username: me, password: secret}") as there:
        await there.get()
    assert there.seen == ["Basic " + b64encode(b"me:secret").decode()]
