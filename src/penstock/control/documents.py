"""The two documents that the control process serves from its package: the start page and the API description."""

from __future__ import annotations

from importlib import resources

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

START_PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


async def redirect_to_page(request: Request) -> Response:
    return RedirectResponse("/ui/", 307)


async def start_page(request: Request) -> Response:
    headers = {"Content-Security-Policy": START_PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(packaged("control/start.html"), headers=headers, media_type="text/html")


async def api_description(request: Request) -> Response:
    return Response(packaged("openapi.yaml"), media_type="application/yaml")


def packaged(name: str) -> bytes:
    return resources.files("penstock").joinpath(name).read_bytes()
