"""The process runtime's connection to the zygote: sends at once, reconnects by itself, hands on what it hears.

Runs on the event loop of the control process. While there is no zygote, sending raises ProviderUnavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from pathlib import Path
from typing import Protocol

import msgspec

from penstock.errors import ProviderUnavailable
from penstock.providers.runtimes.messages import Frames, FromZygote, Hello, ToZygote, frame, read_news

_RETRY_FIRST = 0.02
_RETRY_LAST = 1.0
"""Seconds between attempts to connect; the first come fast, since a zygote that was restarted is back within half a second."""

_log = logging.getLogger(__name__)


class Ear(Protocol):
    """Who listens."""

    def connected(self, hello: Hello) -> None: ...

    def heard(self, news: FromZygote) -> None: ...

    def disconnected(self) -> None: ...


class ZygoteClient:
    """One connection at a time, opened again whenever it is lost."""

    def __init__(self, path: Path, run_id: str, ear: Ear) -> None:
        self.connected = False
        self._path = path
        self._run_id = run_id
        self._ear = ear
        self._socket: socket.socket | None = None
        self._frames = Frames()
        self._waiting = b""
        self._problem = "it has not been reached yet"
        self._task: asyncio.Task[None] | None = None
        self._greeted = asyncio.Event()

    async def start(self, timeout: float) -> None:
        """Connect, for at most `timeout` seconds. Raises ProviderUnavailable."""
        self._reconnect()
        try:
            await asyncio.wait_for(self._greeted.wait(), timeout)
        except TimeoutError:
            await self.close()
            raise ProviderUnavailable(self.problem()) from None

    async def close(self) -> None:
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        self._hang_up()

    def problem(self) -> str:
        return f"the zygote at {self._path} cannot be used: {self._problem}"

    def send(self, request: ToZygote) -> None:
        """Hand a request over; it is on its way when this returns. Raises ProviderUnavailable."""
        if not self.connected:
            raise ProviderUnavailable(self.problem())
        self._waiting += frame(request)
        self._flush()

    def _reconnect(self) -> None:
        if not self._task or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._keep_trying())

    async def _keep_trying(self) -> None:
        pause = _RETRY_FIRST
        while not self._try():
            await asyncio.sleep(pause)
            pause = min(pause * 2, _RETRY_LAST)

    def _try(self) -> bool:
        """A unix socket's connect is answered at once, so nothing is awaited here."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            self._problem = error.strerror or str(error)
            return False
        self._socket, self._frames, self._waiting = connection, Frames(), b""
        asyncio.get_running_loop().add_reader(connection, self._receive)
        return True

    def _receive(self) -> None:
        if not self._socket:
            return
        try:
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionResetError("it closed the connection")
            for body in self._frames.feed(data):
                self._hear(read_news(body))
        except BlockingIOError:
            return
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            self._lost(str(error))

    def _hear(self, news: FromZygote) -> None:
        if not isinstance(news, Hello):
            self._ear.heard(news)
        elif news.run_id != self._run_id:
            raise ValueError("it belongs to another run of the server")
        else:
            self.connected = True
            self._ear.connected(news)
            self._greeted.set()

    def _flush(self) -> None:
        if not self._socket:
            return
        loop = asyncio.get_running_loop()
        try:
            self._waiting = self._waiting[self._socket.send(self._waiting) :]
        except BlockingIOError:
            loop.add_writer(self._socket, self._flush)
            return
        except OSError as error:
            self._lost(str(error))
            raise ProviderUnavailable(self.problem()) from error
        if self._waiting:
            loop.add_writer(self._socket, self._flush)
        else:
            loop.remove_writer(self._socket)

    def _lost(self, problem: str) -> None:
        _log.warning("lost the zygote: %s", problem)
        self._problem = problem
        was_connected = self.connected
        self._hang_up()
        self._reconnect()
        if was_connected:
            self._ear.disconnected()

    def _hang_up(self) -> None:
        self.connected = False
        if self._socket:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._socket)
            loop.remove_writer(self._socket)
            self._socket.close()
            self._socket = None
