"""`/system/scale-function/{name}`: sets the number of replicas, 0 included (contract gateway §1.3, §12.5)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from penstock.control.functions import path_name
from penstock.control.request import query_namespace, read_json
from penstock.control.schema import read_namespace, read_replicas
from penstock.providers.base import Provider


class Scale:
    """Handler of the scale resource. The path names the function; `serviceName` in the body repeats it and is not read."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def scale(self, request: Request) -> Response:
        name, body = path_name(request), await read_json(request)
        await self._provider.scale(name, read_namespace(body, query_namespace(request)), read_replicas(body))
        return Response(status_code=202)
