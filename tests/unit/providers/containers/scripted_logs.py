"""An engine of which tests write the logs: for each path the answers to give, one for each time that it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any

from penstock.errors import ProviderUnavailable
from penstock.providers.containers.engine import Document, Engine, EngineRefused

START = 1_767_225_600
"""2026-01-01, in seconds."""

Part = bytes | Exception | Callable[[], Coroutine[Any, Any, Any]]


def stamp(nanos: int) -> str:
    """The engine's way to write a time, this many nanoseconds after START."""
    seconds, rest = divmod(nanos, 1_000_000_000)
    assert seconds < 60
    return f"2026-01-01T00:00:{seconds:02}.{rest:09}Z"


def frame(text: bytes, nanos: int = 0, stream: int = 1, details: str | None = None) -> bytes:
    data = stamp(nanos).encode() + b" " + (b"" if details is None else details.encode() + b" ") + text
    return bytes([stream, 0, 0, 0]) + len(data).to_bytes(4, "big") + data


async def silence() -> None:
    await asyncio.Event().wait()


class ScriptedEngine(Engine):
    """`answers[path]` are taken in turn; once there are none left, the engine does not know the path. `asked` keeps all
    parameters. A part of an answer is bytes to send, an error to raise or something to wait for."""

    def __init__(self, answers: dict[str, list[list[Part]]] | None = None) -> None:
        super().__init__({})
        self.answers = answers or {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.closed = 0
        self.documents_of: dict[str, list[Document | Exception]] = {}

    async def stream(
        self, path: str, /, method: str = "GET", *, auth: str = "", **params: Any
    ) -> AsyncGenerator[bytes, None]:
        self.asked.append((path, params))
        try:
            if not self.answers.get(path):
                raise EngineRefused(404, f"No such container: {path}")
            for part in self.answers[path].pop(0):
                if isinstance(part, Exception):
                    raise part
                if isinstance(part, bytes):
                    yield part
                else:
                    await part()
        finally:
            self.closed += 1

    async def get(self, path: str, **params: Any) -> Any:
        self.asked.append((path, params))
        if not self.documents_of.get(path):
            raise EngineRefused(404, f"No such container: {path}")
        answer = self.documents_of[path].pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def broken() -> ProviderUnavailable:
    return ProviderUnavailable("the Docker Engine at nowhere broke off")
