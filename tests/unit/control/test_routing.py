"""The route table's row and the router, apart from any real route."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from penstock.control.routing import Resource, build_router
from penstock.errors import AlreadyExists
from tests.unit.control.support import Client


async def echo(request: Request) -> Response:
    return Response(f"{request.method} {request.path_params.get('name', '')}")


async def refuse(request: Request) -> Response:
    raise AlreadyExists("it is there")


CLIENT = Client(build_router([Resource("/a/{name}", {"GET": echo, "PUT": refuse})]))


async def test_a_handler_gets_the_path_parameters() -> None:
    assert (await CLIENT.get("/a/b")).text == "GET b"


async def test_head_is_not_answered_by_the_get_handler() -> None:
    assert (await CLIENT.call("HEAD", "/a/b")).status == 405


async def test_what_a_handler_raises_becomes_the_answer() -> None:
    answer = await CLIENT.call("PUT", "/a/b")
    assert (answer.status, answer.text) == (409, "it is there\n")


async def test_a_trailing_slash_is_another_path() -> None:
    assert (await CLIENT.get("/a/b/")).status == 404
