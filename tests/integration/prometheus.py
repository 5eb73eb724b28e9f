"""A real Prometheus, of Debian's package, on a port of its own choice."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path

import aiohttp
import psutil

from tests.conftest import debian_path

DEADLINE = 120.0


@contextlib.contextmanager
def prometheus_in(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The process, by the `prometheus.yml` of the folder, which also gets its data and its log."""
    command = [
        shutil.which("prometheus", path=debian_path()) or "prometheus",
        "--config.file=prometheus.yml",
        "--web.listen-address=127.0.0.1:0",
        "--storage.tsdb.path=data",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait()


async def until(met: Callable[[], object]) -> None:
    """Wait for something, generously."""
    async with asyncio.timeout(DEADLINE):
        while not met():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def ready(process: subprocess.Popen[bytes]) -> int:
    """Its port, once it answers queries: it listens before it has read its data."""
    await until(lambda: ports(process))
    [port] = ports(process)
    async with aiohttp.ClientSession() as session, asyncio.timeout(DEADLINE):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/-/ready") as answer:
                if answer.status == HTTPStatus.OK:
                    return port
            await asyncio.sleep(0.05)


def ports(process: subprocess.Popen[bytes]) -> list[int]:
    """Those that it listens on; none while it starts."""
    assert process.poll() is None, "prometheus has ended"
    found = psutil.Process(process.pid).net_connections("tcp")
    return [one.laddr.port for one in found if one.status == psutil.CONN_LISTEN]
