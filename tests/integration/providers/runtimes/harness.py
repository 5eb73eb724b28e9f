"""A real zygote and real replicas in a temporary home, with everything ended by the lifeline when a test is over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from penstock.model import Function, FunctionSpec
from penstock.providers.local import LocalProvider
from penstock.providers.runtimes import processes
from penstock.providers.runtimes.process import create_process_provider
from penstock.providers.runtimes.records import read_record
from penstock.settings import ServeSettings
from tests.engines.waiting import wait_until
from tests.integration.providers.waiting import ready

TIMEOUT = 60.0


class Server:
    """What the supervisor is to the process provider: a run id, a lifeline and a zygote that can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.settings = ServeSettings(home=home)
        self.home = self.settings.paths
        self.environ: dict[str, str] = {}
        self.zygote: subprocess.Popen[bytes] | None = None
        self._lifeline = self._read = -1
        self.new_run()

    def new_run(self) -> None:
        """Everything that the supervisor holds is new, as after its death and restart."""
        self.end()
        self._read, self._lifeline = os.pipe()
        self.environ = {
            **os.environ,
            "PENSTOCK_RUN_ID": secrets.token_hex(8),
            "PENSTOCK_LIFELINE_FD": str(self._read),
            "SERVER_PASSWORD": "not for functions",
        }

    def start_zygote(self) -> None:
        self.home.zygote_socket.unlink(missing_ok=True)  # of an earlier one, so that this one's shows that it listens
        arguments = [sys.executable, "-m", "penstock.providers.runtimes.zygote", str(self.home.zygote_socket)]
        self.zygote = subprocess.Popen(arguments, env=self.environ, pass_fds=[self._read])

    def await_zygote(self) -> None:
        wait_until(self.home.zygote_socket.exists, "the zygote listens")

    def kill_zygote(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.zygote:
            self.zygote.send_signal(number)
            self.zygote.wait()
            self.zygote = None

    def end(self) -> None:
        """Cut the lifeline: the zygote and all replicas end."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            os.close(self._read)
            self._lifeline = -1
        if self.zygote:
            self.zygote.wait(TIMEOUT)
            self.zygote = None

    def provider(self) -> LocalProvider:
        return create_process_provider(self.settings, self.environ)

    def tokens(self) -> list[str]:
        """Replicas that have a directory."""
        return sorted(path.name for path in self.home.replicas.iterdir()) if self.home.replicas.is_dir() else []

    def children(self) -> list[int]:
        """Living children of the zygote: replicas, and one spare at most."""
        pid = self.zygote.pid if self.zygote else 0
        return [stat.pid for stat in processes.all_processes() if stat.parent == pid and stat.state not in "ZX"]

    def kill_everything(self) -> None:
        """Every process that carries a mark of this home, by number."""
        processes.kill_leftovers(set(), set(self.tokens()))


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A server with a zygote in a short temporary directory; nothing of it is left afterwards."""
    home = Path(tempfile.mkdtemp(prefix="pst-"))
    server = Server(home / "home")
    server.start_zygote()
    try:
        server.await_zygote()
        yield server
    finally:
        server.end()
        server.kill_everything()
        shutil.rmtree(home, ignore_errors=True)


@contextlib.asynccontextmanager
async def running_provider() -> AsyncIterator[tuple[LocalProvider, Server]]:
    with running_server() as server:
        provider = server.provider()
        await provider.start()
        try:
            yield provider, server
        finally:
            await provider.close()


async def die(provider: LocalProvider) -> None:
    """What is left of a control process after SIGKILL: nothing is stopped, its connections close, its database is let go."""
    await provider._runtime.close()
    for task in list(provider._crew.tasks):
        task.cancel()
    await provider._store.close()


def ended(pid: int) -> bool:
    """Whether a process runs no more. One that nobody has reaped yet has ended too."""
    stat = processes.stat_of(pid)
    return stat is None or stat.state in "ZX"


async def call(address: str, body: bytes = b"", path: str = "/") -> tuple[int, bytes]:
    """One POST to a replica; status and body."""
    reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    head = f"POST {path} HTTP/1.0\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await asyncio.wait_for(reader.read(), TIMEOUT)
    writer.close()
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), rest.partition(b"\r\n\r\n")[2]


async def deployed(provider: LocalProvider, name: str, program: str, **fields: Any) -> Function:
    """Deploy a program and wait until it is ready."""
    await provider.deploy(FunctionSpec(name=name, env_process=program, **fields))
    return await ready(provider, name)


async def run(provider: LocalProvider, name: str, program: str, body: bytes = b"", **fields: Any) -> str:
    """What a program answers as a function of its own."""
    function = await deployed(provider, name, program, **fields)
    _, answer = await call(function.endpoints[0], body)
    return answer.decode()


def pid_of(address: str) -> int:
    """The pid in a replica's record, by its address."""
    directory = Path(address.removeprefix("unix:")).parent
    record = read_record(directory)
    assert record, f"{directory} has no record"
    return record.pid


def long_time() -> str:
    """Seconds for `sleep`, longer than any test and of a number that no other program sleeps for, so that `runs_with` finds it."""
    return f"70000.{secrets.randbelow(10**9):09}"


def runs_with(mark: str) -> list[int]:
    """Processes with this word as one of their arguments."""
    found = []
    for stat in processes.all_processes():
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{stat.pid}/cmdline").read_bytes().split(b"\x00")
            if mark.encode() in arguments and stat.state not in "ZX":
                found.append(stat.pid)
    return found


def script(folder: Path, text: str) -> str:
    """A Python program in a file of its own; the command line that runs it."""
    path = folder / "program.py"
    path.write_text(text)
    return f"{sys.executable} {path}"
