"""`/system/namespaces` and `/system/namespace/{name}` (contract gateway §1.3).

The label or annotation `openfaas=1` that some platforms insist on is kept when sent and never required.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from penstock.control.decode import JsonObject
from penstock.control.request import json_answer, read_body, read_json
from penstock.control.schema import namespace_status, read_function_namespace
from penstock.core.names import check_namespace
from penstock.errors import InvalidInput, NamespaceNotFound
from penstock.providers.base import Provider


class Namespaces:
    """Handlers of the namespace resource. Clients create with an empty path name, and name one for everything else."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def list(self, request: Request) -> Response:
        return json_answer([namespace.name for namespace in await self._provider.list_namespaces()])

    async def get(self, request: Request) -> Response:
        name = _path_namespace(request)
        for namespace in await self._provider.list_namespaces():
            if namespace.name == name:
                return json_answer(namespace_status(namespace))
        raise NamespaceNotFound(f"namespace {name} not found")

    async def create(self, request: Request) -> Response:
        body = await read_json(request)
        name = _agreed_name(request.path_params.get("name", ""), body)
        if not name:
            raise InvalidInput("name: the request body must name the namespace")
        await self._provider.create_namespace(read_function_namespace(body, name))
        return Response(status_code=201)

    async def update(self, request: Request) -> Response:
        name, body = _path_namespace(request), await read_json(request)
        await self._provider.update_namespace(read_function_namespace(body, _agreed_name(name, body)))
        return Response(status_code=202)

    async def delete(self, request: Request) -> Response:
        """The body only repeats the name; clients that send none are served too."""
        name, content = _path_namespace(request), await read_body(request)
        body = JsonObject.parse(content) if content.strip() else JsonObject({})
        await self._provider.delete_namespace(_agreed_name(name, body))
        return Response(status_code=202)


def _path_namespace(request: Request) -> str:
    name: str = request.path_params.get("name", "")
    if not name:
        raise InvalidInput("namespace: the path must name it, /system/namespace/NAME")
    return check_namespace(name)


def _agreed_name(path_name: str, body: JsonObject) -> str:
    """The name that path and body agree on; either may be empty."""
    body_name = body.text("name")
    if path_name and body_name and path_name != body_name:
        raise InvalidInput(f"name: the body says {body_name!r}, the path says {path_name!r}")
    return path_name or body_name
