"""A small document by HTTP, from servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from penstock.watchdog import fetch as module
from penstock.watchdog.fetch import FetchFailed, fetch

Serve = Callable[[bytes], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that sends these bytes to everybody and closes; gives its URL."""
    servers: list[asyncio.Server] = []

    async def begin(answer: bytes) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if answer:
                writer.close()

        servers.append(await asyncio.start_server(handle, "127.0.0.1", 0))
        return f"http://127.0.0.1:{servers[-1].sockets[0].getsockname()[1]}/path?query"

    yield begin
    for server in servers:
        server.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.0 200 OK\r\n\r\nbody",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
    ],
)
async def test_a_document_in_every_framing(serve: Serve, answer: bytes) -> None:
    assert await fetch(await serve(answer)) == b"body"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n", "answered 302"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbody", "was cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo", "was cut"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "chunk"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "malformed status line"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * (80 << 10) + b"\r\n\r\n", "limit"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (module.MOST + 1), "larger than"),
        (b"x", "bytes"),
    ],
)
async def test_an_answer_that_is_no_whole_document_fails(serve: Serve, answer: bytes, reason: str) -> None:
    with pytest.raises(FetchFailed, match=reason):
        await fetch(await serve(answer))


async def test_a_server_that_says_nothing_costs_the_timeout_only(serve: Serve) -> None:
    with pytest.raises(FetchFailed, match=r"no answer within 0\.2 s"):
        await fetch(await serve(b""), timeout=0.2)


async def test_nobody_there_is_a_failure() -> None:
    with pytest.raises(FetchFailed, match=r"http://127\.0\.0\.1:1/"):
        await fetch("http://127.0.0.1:1/")


async def test_a_host_name_that_cannot_be_one_is_a_failure() -> None:
    with pytest.raises(FetchFailed, match="aaa"):
        await fetch(f"http://{'a' * 300}.example/")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host/",
        "file:///etc/passwd",
        "http://",
        "http://u:p@host/",
        "http://host:x/",
        "http://h/\r\nX: 1",
        "http://h/ü",
    ],
)
async def test_what_is_no_plain_url_is_refused(url: str) -> None:
    with pytest.raises(FetchFailed, match="URL"):
        await fetch(url)
