"""`/system/function/{name}/scaling`: why a function has the replicas that it has."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from penstock.autoscaler.scaler import Scaler
from penstock.control.functions import path_name
from penstock.control.request import json_answer, query_namespace
from penstock.errors import FunctionNotFound


class ScalingOf:
    """Handler of the scaling resource."""

    def __init__(self, scaler: Scaler) -> None:
        self._scaler = scaler

    async def get(self, request: Request) -> Response:
        key = f"{path_name(request)}.{query_namespace(request)}"
        try:
            return json_answer(self._scaler.report(key))
        except FunctionNotFound:
            decisions = self._scaler.journal.of(key)
            if not decisions:
                raise
            # Alerts have named it: whoever mistyped the name in a rule finds out here.
            return json_answer({"decisions": msgspec.to_builtins(decisions)})
