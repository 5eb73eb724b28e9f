"""A Docker Engine that says what a test has written down, and remembers what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, NamedTuple

from penstock.providers.containers.engine import Engine, EngineRefused

Answer = Any
"""A document, an error to raise, or a function of the call that gives one of them."""


class Call(NamedTuple):
    method: str
    path: str
    body: Any = None
    params: dict[str, Any] = {}  # noqa: RUF012 - never written to


class ScriptedEngine(Engine):
    """Answers by method and path; what nobody has written down is not there (404)."""

    def __init__(self, answers: dict[tuple[str, str], Answer] | None = None) -> None:
        super().__init__({"DOCKER_HOST": "unix:///scripted.sock"})
        self.answers = dict(answers or {})
        self.calls: list[Call] = []
        self.archives: dict[str, bytes] = {}
        """What was unpacked, by `container:folder`."""
        self.events: asyncio.Queue[Any] = asyncio.Queue()
        """Documents of `/events`; None ends the stream, an error breaks it."""

    def asked(self, method: str, path: str = "") -> list[Call]:
        """Calls of this method whose path begins like this."""
        return [call for call in self.calls if call.method == method and call.path.startswith(path)]

    async def open(self) -> dict[str, Any]:
        info: dict[str, Any] = await self.get("/info")
        return info

    async def close(self) -> None:
        self.calls.append(Call("CLOSE", ""))

    async def get(self, path: str, **params: Any) -> Any:
        return await self._answer(Call("GET", path, None, params))

    async def post(self, path: str, body: Any = None, *, auth: str = "", **params: Any) -> Any:
        return await self._answer(Call("POST", path, body, params))

    async def delete(self, path: str, **params: Any) -> Any:
        return await self._answer(Call("DELETE", path, None, params))

    async def put_archive(self, container: str, folder: str, archive: bytes | AsyncIterator[bytes]) -> None:
        await self._answer(Call("PUT", f"/containers/{container}/archive", None, {"path": folder}))
        data = archive if isinstance(archive, bytes) else b"".join([chunk async for chunk in archive])
        self.archives[f"{container}:{folder}"] = data

    async def stream(
        self, path: str, /, method: str = "GET", *, auth: str = "", **params: Any
    ) -> AsyncGenerator[bytes, None]:
        yield await self._answer(Call(method, path, None, params))

    async def documents(
        self, path: str, method: str = "GET", *, auth: str = "", **params: Any
    ) -> AsyncGenerator[dict[str, Any], None]:
        self.calls.append(Call(method, path, None, params))
        while (event := await self.events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    async def _answer(self, call: Call) -> Any:
        self.calls.append(call)
        await asyncio.sleep(0)
        missing = EngineRefused(404, f"nothing is written down for {call.method} {call.path}")
        answer = self.answers.get((call.method, call.path), missing)
        if callable(answer):
            answer = answer(call)
        if isinstance(answer, Exception):
            raise answer
        return answer
