from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from penstock.errors import ProviderUnavailable
from penstock.providers.containers.engine import Engine, EngineRefused

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(
    folder: Path, versions: tuple[str, str] = ("1.12", "1.41"), **handlers: Handler
) -> AsyncIterator[Engine]:
    """A socket on which an engine of these versions answers; `handlers` by the first word of the path behind the version."""

    async def version(request: web.Request) -> web.Response:
        return web.json_response({"MinAPIVersion": versions[0], "ApiVersion": versions[1]})

    async def rest(request: web.Request) -> web.StreamResponse:
        handler = handlers.get(request.match_info["rest"].split("/")[0])
        if handler:
            return await handler(request)
        return web.json_response({"path": request.path, "method": request.method, "query": dict(request.query)})

    app = web.Application()
    app.router.add_get("/version", version)
    app.router.add_route("*", "/{version}/{rest:.*}", rest)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    socket = folder / "engine.sock"
    await web.UnixSite(runner, str(socket)).start()
    engine = Engine({"DOCKER_HOST": f"unix://{socket}"}, timeout=60.0)
    try:
        yield engine
    finally:
        await engine.close()
        await runner.cleanup()


async def test_the_engines_own_version_is_used_where_we_know_it(tmp_path: Path) -> None:
    async with serving(tmp_path) as engine:
        assert (await engine.open())["path"] == "/v1.41/info"


async def test_a_newer_engine_is_asked_in_the_newest_version_that_we_know(tmp_path: Path) -> None:
    async with serving(tmp_path, ("1.44", "1.99")) as engine:
        assert (await engine.open())["path"] == "/v1.47/info"


@pytest.mark.parametrize(
    ("versions", "advice"),
    [
        (("1.12", "1.30"), "upgrade Docker"),
        (("1.60", "1.70"), "upgrade Penstock"),
        (("", "nonsense"), "upgrade Docker"),
    ],
)
async def test_an_engine_too_old_or_too_new_is_refused_with_advice(
    tmp_path: Path, versions: tuple[str, str], advice: str
) -> None:
    async with serving(tmp_path, versions) as engine:
        with pytest.raises(ProviderUnavailable, match=advice):
            await engine.open()


async def test_parameters_that_are_no_texts_are_sent_as_json_and_absent_ones_left_out(tmp_path: Path) -> None:
    async with serving(tmp_path) as engine:
        await engine.open()
        answer = await engine.get(
            "/containers/json", all=True, limit=3, filters={"label": ["a=b"]}, since=None, name="x"
        )
        assert answer["query"] == {"all": "true", "limit": "3", "filters": '{"label": ["a=b"]}', "name": "x"}


async def test_a_refusal_carries_the_engines_code_and_words(tmp_path: Path) -> None:
    async def containers(request: web.Request) -> web.Response:
        return web.Response(body=b'{"message": "No such container: x\\n"}', content_type="application/json", status=404)

    async with serving(tmp_path, containers=containers) as engine:
        await engine.open()
        with pytest.raises(EngineRefused, match=r"^No such container: x$") as refused:
            await engine.get("/containers/x/json")
        assert refused.value.code == 404


async def test_an_answer_that_does_not_come_is_an_engine_that_is_away(tmp_path: Path) -> None:
    async def containers(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.json_response({})

    async with serving(tmp_path, containers=containers) as engine:
        await engine.open()
        engine._timeout = 0.05
        with pytest.raises(ProviderUnavailable, match="does not answer /containers/x/json within"):
            await engine.get("/containers/x/json")


async def test_a_missing_socket_is_named_with_what_to_do(tmp_path: Path) -> None:
    engine = Engine({"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    with pytest.raises(
        ProviderUnavailable, match=r"none\.sock: the socket does not exist; start Docker, or set DOCKER_HOST"
    ):
        await engine.open()
    await engine.close()


async def test_a_socket_that_nobody_serves_asks_whether_the_engine_runs(tmp_path: Path) -> None:
    async with serving(tmp_path) as engine:
        await engine.open()
    (tmp_path / "engine.sock").touch()
    engine = Engine({"DOCKER_HOST": f"unix://{tmp_path}/engine.sock"})
    with pytest.raises(ProviderUnavailable, match="is dockerd running"):
        await engine.open()
    await engine.close()


async def test_a_socket_of_others_is_told_from_an_engine_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock.providers.containers.engine.os.access", lambda path, mode: False)
    (tmp_path / "engine.sock").touch()
    engine = Engine({"DOCKER_HOST": f"unix://{tmp_path}/engine.sock"})
    with pytest.raises(ProviderUnavailable, match="usermod -aG docker"):
        await engine.open()
    await engine.close()


@pytest.mark.parametrize("address", ["nonsense", "ftp://x"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    engine = Engine({"DOCKER_HOST": address})
    with pytest.raises(ProviderUnavailable, match="set DOCKER_HOST"):
        await engine.open()


async def test_calls_before_open_say_that_it_is_not_connected() -> None:
    with pytest.raises(ProviderUnavailable, match="not connected"):
        await Engine({}).get("/info")


async def test_documents_come_line_by_line_however_they_are_cut(tmp_path: Path) -> None:
    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in (b'{"a": 1}\n{"b"', b": 2}\n", b"\n", b'{"c": 3}'):
            await response.write(part)
        return response

    async with serving(tmp_path, events=events) as engine:
        await engine.open()
        assert [document async for document in engine.documents("/events")] == [{"a": 1}, {"b": 2}, {"c": 3}]


@pytest.mark.parametrize("line", [b"<html>", b"[1]", b"\xff", b"[" * 100_000])
async def test_a_stream_of_something_else_is_an_engine_that_is_away(tmp_path: Path, line: bytes) -> None:
    async def events(request: web.Request) -> web.Response:
        return web.Response(body=line + b"\n")

    async with serving(tmp_path, events=events) as engine:
        await engine.open()
        with pytest.raises(ProviderUnavailable, match="answers /events with something that is no document"):
            _ = [document async for document in engine.documents("/events")]


async def test_an_endless_stream_ends_when_its_reader_has_enough(tmp_path: Path) -> None:
    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b'{"tick": 1}\n')
            await asyncio.sleep(0.01)

    async with serving(tmp_path, events=events) as engine:
        await engine.open()
        stream = engine.documents("/events")
        assert await anext(stream) == {"tick": 1}
        await asyncio.wait_for(stream.aclose(), 60)


async def test_a_stream_that_breaks_off_is_an_engine_that_is_away(tmp_path: Path) -> None:
    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"a": 1}\n')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with serving(tmp_path, events=events) as engine:
        await engine.open()
        with pytest.raises(ProviderUnavailable):
            _ = [document async for document in engine.documents("/events")]


async def test_an_archive_that_nobody_takes_is_an_engine_that_is_away(tmp_path: Path) -> None:
    async def containers(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with serving(tmp_path, containers=containers) as engine:
        await engine.open()
        engine._timeout = 0.05
        with pytest.raises(ProviderUnavailable, match=r"does not answer /containers/ID/archive within 0\.05 s"):
            await engine.put_archive("c1", "/x", b"tar")


async def test_an_archive_arrives_as_it_is_given(tmp_path: Path) -> None:
    received: list[tuple[str, bytes]] = []

    async def containers(request: web.Request) -> web.Response:
        received.append((request.query["path"], await request.read()))
        return web.Response()

    async def archive() -> AsyncIterator[bytes]:
        for part in (b"one", b"two"):
            yield part

    async with serving(tmp_path, containers=containers) as engine:
        await engine.open()
        await engine.put_archive("id", "/place", archive())
        assert received == [("/place", b"onetwo")]
