"""`/system/function/{name}/token`: what lets somebody who is not the administrator call one function with objects of a store."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from penstock.control.functions import path_name
from penstock.control.request import json_answer, query_namespace
from penstock.core.tokens import derive_key, function_token
from penstock.credentials import Credentials
from penstock.errors import NotSupported
from penstock.providers.base import Provider


class TokenOf:
    """Handler of the token resource. The tokens are the same in every gateway that has the password."""

    def __init__(self, provider: Provider, credentials: Credentials | None) -> None:
        self._provider = provider
        self._credentials = credentials
        self._key = b""

    async def get(self, request: Request) -> Response:
        if self._credentials is None:
            raise NotSupported("this gateway runs without authentication: there are no tokens, and none is asked for")
        function = await self._provider.get(path_name(request), query_namespace(request))
        if not self._key:
            self._key = await asyncio.to_thread(derive_key, self._credentials.password)
        spec = function.spec
        answer = {"name": spec.name, "namespace": spec.namespace, "token": function_token(self._key, spec.key)}
        return json_answer(answer)
