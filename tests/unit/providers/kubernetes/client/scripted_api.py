"""An HTTP server on loopback that answers as a test says, and a client of the provider's for it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from penstock.providers.kubernetes.client.api import Api

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

VERSION = {"gitVersion": "v1.30.1"}
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


def kept(name: str = "s", **fields: Any) -> dict[str, Any]:
    """An object as an API server has it."""
    return {
        "metadata": {"name": name, "namespace": "n", "uid": f"uid-{name}", "resourceVersion": "1"},
        "spec": {},
        **fields,
    }


def said(document: Any, status: int = 200, **headers: str) -> Handler:
    """An answer in JSON."""

    async def answer(request: web.Request) -> web.StreamResponse:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(
            body=msgspec.json.encode(document), status=status, content_type="application/json", headers=fields
        )

    return answer


def refused(status: int, message: str = "no", reason: str = "", cause: str = "", **headers: str) -> Handler:
    """An answer in the words of an API server."""
    details = {"details": {"causes": [{"reason": cause}]}} if cause else {}
    document = {"kind": "Status", "status": "Failure", "message": message, "reason": reason, "code": status, **details}
    return said(document, status, **headers)


def plain(status: int, text: str, **headers: str) -> Handler:
    """An answer that is no JSON, such as that of a proxy."""

    async def answer(request: web.Request) -> web.StreamResponse:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(text=text, status=status, headers=fields)

    return answer


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
async def listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[ScriptedApi]:
    """The server."""
    script = ScriptedApi()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", script.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    script.url = f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield script
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[ScriptedApi, Api]]:
    """The server, and a client that has not been opened and is told of it by a kubeconfig."""
    async with listening() as script:
        path = folder / "kubeconfig"
        path.write_text(KUBECONFIG.format(server=script.url, token="secret-token"))
        api = Api("", {"KUBECONFIG": str(path)})
        try:
            yield script, api
        finally:
            await api.close()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[ScriptedApi, Api]]:
    """The same, when the client has asked for the version, which is forgotten."""
    async with serving(folder) as (script, api):
        script.answers = [said(VERSION)]
        await api.open()
        script.asked.clear()
        yield script, api
