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
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

from penstock.providers.local import LocalProvider
from penstock.providers.runtimes import processes
from penstock.providers.runtimes.process import create_process_provider
from penstock.settings import ServeSettings

TIMEOUT = 30.0


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
        arguments = [sys.executable, "-m", "penstock.providers.runtimes.zygote", str(self.home.zygote_socket)]
        self.zygote = subprocess.Popen(arguments, env=self.environ, pass_fds=[self._read])

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
        yield server
    finally:
        server.end()
        server.kill_everything()
        shutil.rmtree(home)


@contextlib.asynccontextmanager
async def running_provider() -> AsyncIterator[tuple[LocalProvider, Server]]:
    with running_server() as server:
        provider = server.provider()
        await provider.start()
        try:
            yield provider, server
        finally:
            await provider.close()


async def until(what: str, holds: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait for a condition with a generous deadline."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        answer = holds()
        if answer if isinstance(answer, bool) else await answer:
            return
        assert time.monotonic() < deadline, f"not within {TIMEOUT:g} s: {what}"
        await asyncio.sleep(0.005)
