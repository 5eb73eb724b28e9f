"""`/system/secrets`: names can be listed, values only go in (contract gateway §1.3)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from penstock.control.request import json_answer, query_namespace, read_json
from penstock.control.schema import read_namespace, read_secret
from penstock.core.names import check_secret_name
from penstock.providers.base import Provider


class Secrets:
    """Handlers of the secret resource. No answer and no log line ever carries a value."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def list(self, request: Request) -> Response:
        namespace = query_namespace(request)
        names = await self._provider.list_secrets(namespace)
        return json_answer([{"name": name, "namespace": namespace} for name in names])

    async def create(self, request: Request) -> Response:
        await self._provider.create_secret(read_secret(await read_json(request), query_namespace(request)))
        return Response(status_code=202)

    async def update(self, request: Request) -> Response:
        await self._provider.update_secret(read_secret(await read_json(request), query_namespace(request)))
        return Response(status_code=202)

    async def delete(self, request: Request) -> Response:
        body = await read_json(request)
        name = check_secret_name(body.text("name"))
        await self._provider.delete_secret(name, read_namespace(body, query_namespace(request)))
        return Response(status_code=202)
