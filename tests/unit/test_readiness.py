from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock.readiness import probe


@asynccontextmanager
async def answering(path: Path, answer: bytes, stay: bool = False) -> AsyncIterator[str]:
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        assert request.startswith(b"GET /_/ready HTTP/1.1\r\n")
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
        assert await probe(address) is True


async def test_the_body_of_another_status_is_the_reason(tmp_path: Path) -> None:
    async with answering(tmp_path / "s", b"HTTP/1.1 503 X\r\n\r\nthe program does not listen yet\n") as address:
        assert await probe(address) == "the program does not listen yet"


async def test_a_traceback_is_part_of_the_reason_and_a_huge_one_loses_its_middle(tmp_path: Path) -> None:
    lines = b"it failed\nTraceback\n  last line\n"
    async with answering(tmp_path / "s", b"HTTP/1.1 503 X\r\n\r\n" + lines) as address:
        assert await probe(address) == lines.decode().strip()
    body = b"it failed\n" + b"x\n" * 6000 + b"the end\n"
    async with answering(tmp_path / "t", b"HTTP/1.1 503 X\r\n\r\n" + body) as address:
        reason = await probe(address)
        assert isinstance(reason, str) and len(reason) <= 4000
        assert reason.startswith("it failed\n...\n") and reason.endswith("the end")


@pytest.mark.parametrize(
    "answer", [b"", b"\x00" * 5000, b"SSH-2.0-x\r\n", b"HTTP/1.1", b"HTTP/1.1 \xff\xff\r\n\r\n", b"200 OK\r\n\r\n"]
)
async def test_hostile_answers_are_reasons(tmp_path: Path, answer: bytes) -> None:
    async with answering(tmp_path / "s", answer) as address:
        result = await probe(address)
        assert isinstance(result, str) and result


async def test_a_port_that_never_answers_runs_into_the_timeout(tmp_path: Path) -> None:
    async with answering(tmp_path / "s", b"", stay=True) as address:
        assert await probe(address, timeout=0.05) == "its port does not answer within 0.05 s"


async def test_tcp_addresses_work(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await probe(f"127.0.0.1:{port}") is True
    server.close()
    await server.wait_closed()
    assert await probe(f"127.0.0.1:{port}") == "its port is not open yet"


@pytest.mark.parametrize("address", ["unix:/nonexistent/x.sock", "", "nonsense", "127.0.0.1:port", "unix:" + "x" * 200])
async def test_addresses_without_a_listener_are_reasons(address: str) -> None:
    result = await probe(address)
    assert isinstance(result, str) and result
