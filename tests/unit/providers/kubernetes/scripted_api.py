"""An HTTP server on loopback that answers as a test says, and a client of the provider's for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from penstock.providers.kubernetes.api import Api

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: here, cluster: {{server: "{server}"}}}}]
users: [{{name: me, user: {{token: "{token}"}}}}]
contexts: [{{name: usual, context: {{cluster: here, user: me}}}}]
current-context: usual
"""


class ScriptedApi:
    """Keeps what it was asked; `answers` are used up in their order, the last one stays."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        """Method, path, query and body."""
        self.headers: list[dict[str, str]] = []
        self.answers: list[web.StreamResponse | Handler] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.asked.append(
            (request.method, request.path, dict(request.query), msgspec.json.decode(body) if body else None)
        )
        self.headers.append(dict(request.headers))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return answer if isinstance(answer, web.StreamResponse) else await answer(request)


def said(document: Any, status: int = 200, **headers: str) -> Handler:
    """An answer in JSON."""

    async def answer(request: web.Request) -> web.StreamResponse:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(
            body=msgspec.json.encode(document), status=status, content_type="application/json", headers=fields
        )

    return answer


def refused(status: int, message: str = "no", reason: str = "", **headers: str) -> Handler:
    """An answer in the words of an API server."""
    return said(
        {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": status}, status, **headers
    )


def pieces(*texts: bytes, stay: asyncio.Event | None = None) -> Handler:
    """An answer piece by piece; it ends when `stay` is set."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for text in texts:
            await response.write(text)
        if stay:
            await stay.wait()
        return response

    return answer


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[ScriptedApi, Api]]:
    """The server, and a client that has not been opened and is told of it by a kubeconfig."""
    script = ScriptedApi()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", script.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    script.url = f"http://127.0.0.1:{port}"
    path = folder / "kubeconfig"
    path.write_text(KUBECONFIG.format(server=script.url, token="secret-token"))
    api = Api("", {"KUBECONFIG": str(path)})
    try:
        yield script, api
    finally:
        await api.close()
        await runner.cleanup()
