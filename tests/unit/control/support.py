"""What the control tests share: an ASGI client that runs in the test's own loop, and ways to wait."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.types import ASGIApp

from penstock.autoscaler.scaler import Scaler
from penstock.autoscaler.sources import Sources
from penstock.control.feed import Feed
from penstock.providers.base import Provider
from penstock.providers.clock import SystemClock
from penstock.settings import ServeSettings

T = TypeVar("T")

USER, PASSWORD = "admin", "correct horse"
BASIC = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
DEADLINE = 60.0
"""Seconds any condition may take; only ever used up by a failing test."""


def settings_for(directory: Path, **changes: object) -> ServeSettings:
    """Of a control process whose home is the directory, over the memory provider, with metrics on a port that the system chooses."""
    fields = {"home": directory, "provider": "memory", "metrics_port": 0} | changes
    return ServeSettings(**fields)  # type: ignore[arg-type]


def scaler_of(provider: Provider, feed: Feed) -> Scaler:
    """A scaler that nobody runs: it follows alerts and people."""
    return Scaler(provider, feed.functions, feed, SystemClock(), Sources())


@dataclass
class Answer:
    """A complete response."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Client:
    """Calls an ASGI application directly. Sends the right credentials unless told otherwise."""

    def __init__(self, app: ASGIApp, authorization: str | None = BASIC) -> None:
        self.app = app
        self.authorization = authorization

    async def call(
        self, method: str, target: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request; `body` may be bytes, or an object that is sent as JSON."""
        content = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        answer = Answer()
        sent = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            if sent.is_set():
                await asyncio.Event().wait()
            sent.set()
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            record(answer, message)

        await self.app(self.scope(method, target, headers or {}), receive, send)
        return answer

    def scope(self, method: str, target: str, headers: dict[str, str]) -> dict[str, Any]:
        path, _, query = target.partition("?")
        fields = {"host": "127.0.0.1:8080"} | {name.lower(): value for name, value in headers.items()}
        if self.authorization is not None:
            fields.setdefault("authorization", self.authorization)
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
            "client": None,
            "server": None,
        }

    async def get(self, target: str, **headers: str) -> Answer:
        return await self.call("GET", target, headers=headers)

    async def deploy(self, name: str, **fields: object) -> Answer:
        return await self.call("POST", "/system/functions", {"service": name, "envProcess": "cat", **fields})


def record(answer: Answer, message: MutableMapping[str, Any]) -> None:
    """Add one ASGI message of an application to an answer."""
    if message["type"] == "http.response.start":
        answer.status = message["status"]
        answer.headers = {name.decode().lower(): value.decode() for name, value in message.get("headers", ())}
    else:
        answer.body += message.get("body", b"")


async def until(condition: Callable[[], object], what: str = "the condition") -> None:
    """Wait until `condition()` is true. Raises TimeoutError naming what never happened."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DEADLINE
    while not condition():
        if loop.time() > deadline:
            raise TimeoutError(f"{what} never happened")
        await asyncio.sleep(0.005)


async def within(work: Awaitable[T]) -> T:
    """The result of `work`, which must come in time."""
    return await asyncio.wait_for(work, DEADLINE)
