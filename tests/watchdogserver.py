"""A watchdog in the tests' own process on a unix socket, running real programs, and an HTTP client that shows truncation.

For the `conftest.py` of each stage that has such tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import h11
import pytest
import uvloop

from penstock.watchdog.app import Watchdog
from penstock.watchdog.importing import Application
from penstock.watchdog.settings import load_settings
from penstock.watchdog.spawn import become_subreaper
from tests.watchdogs import DEADLINE


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""
    complete: bool = True


@dataclass
class Running:
    """A started watchdog and how to call it."""

    watchdog: Watchdog
    path: str
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(self.path)
        self.writers.append(writer)
        return reader, writer

    async def call(
        self,
        method: str = "POST",
        target: str = "/",
        body: bytes = b"",
        headers: Iterable[tuple[str, str]] = (),
        chunked: bool = False,
    ) -> Answer:
        """One request on its own connection; body and answer flow at the same time."""
        reader, writer = await self.connect()
        fields = [("Host", "test"), ("Connection", "close"), *headers]
        if chunked:
            fields.append(("Transfer-Encoding", "chunked"))
        elif body:
            fields.append(("Content-Length", str(len(body))))
        head = f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        sending = asyncio.ensure_future(self._send(writer, head.encode("latin-1") + framed))
        try:
            return await asyncio.wait_for(read_answer(reader, method), DEADLINE)
        finally:
            sending.cancel()
            writer.close()

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
        try:
            for start in range(0, len(data), 256 << 10):
                writer.write(data[start : start + (256 << 10)])
                await writer.drain()
        except ConnectionError:
            return


async def read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "test")]))
    parser.send(h11.EndOfMessage())
    answer = Answer(0, {}, complete=False)
    pieces = []
    while True:
        try:
            event = parser.next_event()
        except h11.RemoteProtocolError:
            break
        if event is h11.NEED_DATA:
            try:
                parser.receive_data(await reader.read(256 << 10))
            except (ConnectionError, h11.RemoteProtocolError):
                break
        elif isinstance(event, h11.Response):
            answer.status = event.status_code
            answer.headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            pieces.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage):
            answer.complete = True
            break
        elif isinstance(event, h11.ConnectionClosed):
            break
    answer.body = b"".join(pieces)
    return answer


Start = Callable[..., Awaitable[Running]]


ONE_LOOP = (
    "test_afterburn.py",
    "test_fetch.py",
    "test_jwtauth.py",
    "test_parity.py",
    "test_prefork.py",
    "test_serializing.py",
    "test_stall.py",
)
"""Tests of what is answered and why, which no event loop has a part in; what these modes do with pipes has tests of its own."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Everything else holds on both event loops."""
    both = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop} if item.path.name in ONE_LOOP else both


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """`await start(fprocess="cat", mode="streaming", …)` gives a running watchdog; all are ended with the test.

    `application=` is what the modes that import a function are given.
    """
    running: list[Running] = []

    async def begin(application: Application | None = None, **variables: str) -> Running:
        environ = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), **variables}
        watchdog = Watchdog(load_settings(environ), environ, application)
        path = str(tmp_path / f"{len(running)}.sock")
        running.append(Running(watchdog, path))
        await watchdog.start("unix:" + path)
        return running[-1]

    yield begin
    for one in running:
        for writer in one.writers:
            writer.close()
        await one.watchdog.close()


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Writes a shell script and gives the `fprocess` that runs it."""

    def write(text: str) -> str:
        path = tmp_path / f"script-{len(list(tmp_path.glob('script-*')))}"
        path.write_text(text)
        return f"sh {path}"

    return write


@pytest.fixture
def until() -> Callable[[Callable[[], object]], Awaitable[None]]:
    """Waits for a condition, generously."""

    async def wait(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def descriptors() -> Callable[[], set[str]]:
    """What this process has open, so that leaks show."""

    def listing() -> set[str]:
        found = set()
        for name in os.listdir("/proc/self/fd"):
            try:
                found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
            except OSError:
                continue
        return found

    return listing


@pytest.fixture
def children() -> Callable[[], list[int]]:
    """Processes that are children of this one, zombies included."""

    def listing() -> list[int]:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return [int(pid) for pid in text.split()]

    return listing


@pytest.fixture
def subreaper() -> Iterator[None]:
    """This process gets the orphans of its descendants, as a watchdog does, for the length of a test only."""
    become_subreaper()
    yield
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
