"""`/healthz`: 200 when the back-end answers. Public, because clients wait for it before they log in (contract gateway §1.3)."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from penstock.providers.base import Provider


class Health:
    """Handler of the health resource; a provider that does not answer becomes 503 through its own error."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def get(self, request: Request) -> Response:
        await self._provider.health()
        return Response(status_code=200)
