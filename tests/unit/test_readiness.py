from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from penstock import readiness
from penstock.core.health import Check
from penstock.readiness import probe

PATIENT = Check(timeout=60)
"""Asks as a watchdog is asked, without giving up on a slow machine."""


@asynccontextmanager
async def answering(path: Path, answer: bytes, stay: bool = False, asked: str = "/_/ready") -> AsyncIterator[str]:
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(f"GET {asked} HTTP/1.1\r\n".encode())
        writer.write(answer)
        if stay:
            await done.wait()
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    yield f"unix:{path}"
    done.set()
    server.close()
    await server.wait_closed()


async def test_200_is_ready(tmp_path: Path) -> None:
    async with answering(tmp_path / "s", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as address:
        assert await probe(address, PATIENT) is True


async def test_the_body_of_another_status_is_the_reason(tmp_path: Path) -> None:
    async with answering(tmp_path / "s", b"HTTP/1.1 503 X\r\n\r\nthe program does not listen yet\n") as address:
        assert await probe(address, PATIENT) == "the program does not listen yet"


async def test_a_traceback_is_part_of_the_reason_and_a_huge_one_loses_its_middle(tmp_path: Path) -> None:
    lines = b"it failed\nTraceback\n  last line\n"
    async with answering(tmp_path / "s", b"HTTP/1.1 503 X\r\n\r\n" + lines) as address:
        assert await probe(address, PATIENT) == lines.decode().strip()
    body = b"it failed\n" + b"x\n" * 6000 + b"the end\n"
    async with answering(tmp_path / "t", b"HTTP/1.1 503 X\r\n\r\n" + body) as address:
        reason = await probe(address, PATIENT)
        assert isinstance(reason, str) and len(reason) <= 4000
        assert reason.startswith("it failed\n...\n") and reason.endswith("the end")


@pytest.mark.parametrize(
    "answer", [b"", b"\x00" * 5000, b"SSH-2.0-x\r\n", b"HTTP/1.1", b"HTTP/1.1 \xff\xff\r\n\r\n", b"200 OK\r\n\r\n"]
)
async def test_hostile_answers_are_reasons(tmp_path: Path, answer: bytes) -> None:
    async with answering(tmp_path / "s", answer) as address:
        result = await probe(address, PATIENT)
        assert isinstance(result, str) and result


async def test_a_port_that_never_answers_runs_into_the_timeout(tmp_path: Path) -> None:
    async with answering(tmp_path / "s", b"", stay=True) as address:
        assert await probe(address, Check(timeout=0.05)) == "its port does not answer within 0.05 s"


async def test_tcp_addresses_work(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await probe(f"127.0.0.1:{port}", PATIENT) is True
    server.close()
    await server.wait_closed()
    assert await probe(f"127.0.0.1:{port}", PATIENT) == "its port is not open yet"


@pytest.mark.parametrize("address", ["unix:/nonexistent/x.sock", "", "nonsense", "127.0.0.1:port", "unix:" + "x" * 200])
async def test_addresses_without_a_listener_are_reasons(address: str) -> None:
    result = await probe(address, PATIENT)
    assert isinstance(result, str) and result


def answer_of(status: int) -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: 3\r\n\r\nno\n".encode()


@pytest.mark.parametrize(
    ("passes", "good", "bad"),
    [
        ("success", (200, 204, 302, 399), (400, 404, 429, 500, 503)),
        ("alive", (200, 204, 302, 429), (400, 404, 500, 503)),
        ("any", (200, 302, 404, 405, 429, 499), (500, 502, 503)),
    ],
)
async def test_each_kind_of_check_takes_its_own_statuses(
    tmp_path: Path, passes: Literal["success", "alive", "any"], good: tuple[int, ...], bad: tuple[int, ...]
) -> None:
    for status in (*good, *bad):
        async with answering(tmp_path / str(status), answer_of(status)) as address:
            assert (await probe(address, Check(passes=passes, timeout=60)) is True) == (status in good), status


async def test_another_path_is_asked_and_named_in_the_reason(tmp_path: Path) -> None:
    check = Check(path="/live?deep=1", timeout=60)
    async with answering(tmp_path / "s", answer_of(200), asked="/live?deep=1") as address:
        assert await probe(address, check) is True
    async with answering(tmp_path / "t", answer_of(404), asked="/live?deep=1") as address:
        assert await probe(address, check) == "/live?deep=1 answers 404: no"
    page = b"HTTP/1.1 500 X\r\n\r\n<html>a page for people</html>"
    async with answering(tmp_path / "u", page, asked="/live?deep=1") as address:
        assert await probe(address, check) == "/live?deep=1 answers 500"


@pytest.mark.parametrize(("status", "verdict"), [(200, True), (404, "/x answers 404: no")])
async def test_a_server_that_keeps_the_connection_open_is_judged_by_its_answer(
    tmp_path: Path, status: int, verdict: bool | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = readiness._ask

    async def ask_until_the_limit(address: str, check: Check, answer: bytearray) -> None:
        """The time is over when everything has come and the connection is still open."""
        asking = asyncio.ensure_future(ask(address, check, answer))
        while not asking.done():
            if answer.endswith(b"no\n"):
                asking.cancel()
                await asyncio.wait([asking])
                raise TimeoutError
            await asyncio.sleep(0.005)
        await asking

    if verdict is not True:  # what is not good yet is read until the limit
        monkeypatch.setattr(readiness, "_ask", ask_until_the_limit)
    async with answering(tmp_path / "s", answer_of(status), stay=True, asked="/x") as address:
        assert await probe(address, Check(path="/x", timeout=60)) == verdict
