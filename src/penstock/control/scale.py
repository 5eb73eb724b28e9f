"""`/system/scale-function/{name}`: sets the number of replicas, 0 included (contract gateway §1.3, §12.5)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from penstock.autoscaler.scaler import Scaler
from penstock.control.functions import path_name
from penstock.control.request import query_namespace, read_json
from penstock.control.schema import read_namespace, read_replicas


class Scale:
    """Handler of the scale resource. The path names the function; `serviceName` in the body repeats it and is not read."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler

    async def scale(self, request: Request) -> Response:
        name, body = path_name(request), await read_json(request)
        namespace = read_namespace(body, query_namespace(request))
        await self._scaler.set_by_hand(f"{name}.{namespace}", read_replicas(body))
        return Response(status_code=202)
