"""`/system/functions` and `/system/function/{name}`: deploy, update, delete, list, describe (contract gateway §1.3).

Hands domain objects to the provider; invocation counts come from the gateway's own counters, never from Prometheus.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from penstock.control.feed import Feed
from penstock.control.request import go_bool, json_answer, query_namespace, read_json
from penstock.control.schema import function_details, function_status, read_function_spec, read_namespace
from penstock.core.names import check_function_name
from penstock.errors import FunctionExists, FunctionNotFound, InvalidInput, NamespaceNotFound
from penstock.model import FunctionSpec
from penstock.providers.base import Provider

ANNOUNCE_TIMEOUT = 5.0
"""Seconds that a deployment's answer waits for the workers to know the function, so that a call right after it is no 404. They know
within milliseconds; a busy machine may let one stand still for a second, and a worker that hangs must not hold back the answer."""

COUNT_TIMEOUT = 0.25
"""Seconds that a listing waits for the workers' counters. One that hangs makes counts late, never the list."""


class Functions:
    """Handlers of the function resource."""

    def __init__(self, provider: Provider, feed: Feed) -> None:
        self._provider = provider
        self._feed = feed

    async def list(self, request: Request) -> Response:
        try:
            functions = await self._provider.list(query_namespace(request))
        except NamespaceNotFound:
            if request.query_params.get("namespace"):
                raise
            functions = []  # clients ask this to see whether a login is good, where there need be no default namespace
        await self._feed.flush(COUNT_TIMEOUT)
        return json_answer([function_status(f, self._feed.totals.invocations(f.key)) for f in functions])

    async def deploy(self, request: Request) -> Response:
        spec = await self._read_spec(request)
        try:
            await self._provider.deploy(spec)
        except FunctionExists as error:
            raise FunctionExists(f"function {spec.key} already exists; use PUT to update it") from error
        await self._feed.announced(spec.key, ANNOUNCE_TIMEOUT)
        return Response(status_code=202)

    async def update(self, request: Request) -> Response:
        """404 for a missing function is what makes clients fall back to POST (contract gateway §13.1)."""
        await self._provider.update(await self._read_spec(request))
        return Response(status_code=202)

    async def delete(self, request: Request) -> Response:
        body = await read_json(request)
        name = body.text("functionName")
        if not name:
            raise InvalidInput("functionName: is required")
        await self._provider.delete(check_function_name(name), read_namespace(body, query_namespace(request)))
        return Response(status_code=202)

    async def describe(self, request: Request) -> Response:
        name, namespace = path_name(request), query_namespace(request)
        usage = go_bool(request.query_params.get("usage", ""))
        return json_answer(function_details(await self._provider.get(name, namespace, usage)))

    @staticmethod
    async def _read_spec(request: Request) -> FunctionSpec:
        return read_function_spec(await read_json(request), query_namespace(request))


def path_name(request: Request) -> str:
    """The function named by the path. One that breaks the rules for names cannot exist: FunctionNotFound."""
    name: str = request.path_params["name"]
    try:
        return check_function_name(name)
    except InvalidInput as error:
        raise FunctionNotFound(f"function {name!r} not found") from error
