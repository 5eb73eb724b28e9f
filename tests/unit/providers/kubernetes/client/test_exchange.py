"""What is asked again and what is not, and how much of an answer is read, over real connections."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from penstock.errors import ProviderUnavailable
from penstock.providers.kubernetes.client import answers, exchange
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import ApiInvalid, ApiNotFound, ApiRefused, ApiUnavailable
from penstock.providers.kubernetes.client.kinds import POD, SECRET
from tests.unit.providers.kubernetes.client.scripted_api import (
    VERSION,
    Handler,
    ScriptedApi,
    kept,
    opened,
    pieces,
    plain,
    refused,
    said,
    serving,
)

OBJECT = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "n"}}
Server = tuple[ScriptedApi, Api]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with opened(tmp_path) as there:
        yield there


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PATIENCE", 0.3)


async def cut(request: web.Request) -> web.StreamResponse:
    """An answer whose connection breaks before it begins."""
    if request.transport:
        request.transport.abort()
    return web.Response()


# Asked again


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_whoever_has_no_time_for_a_question_is_asked_again(server: Server, status: int) -> None:
    script, api = server
    script.answers = [refused(status), plain(status, "later", Retry_After="0"), said(kept())]
    assert await api.get(SECRET, "s", "n") == kept()
    assert len(script.asked) == 3


async def test_a_question_whose_connection_breaks_is_asked_again(server: Server) -> None:
    script, api = server
    script.answers = [cut, said(kept())]
    assert await api.get(SECRET, "s", "n") == kept()


async def test_it_is_waited_for_as_long_as_it_says(server: Server) -> None:
    script, api = server
    script.answers = [refused(429, Retry_After="1"), said(kept())]
    began = asyncio.get_running_loop().time()
    await api.get(SECRET, "s", "n")
    assert asyncio.get_running_loop().time() - began >= 0.8


@pytest.mark.parametrize("answer", [refused(429), refused(503, Retry_After="0"), plain(503, "x", Retry_After="0")])
async def test_what_was_turned_away_before_it_was_done_is_asked_again(server: Server, answer: Handler) -> None:
    script, api = server
    script.answers = [answer, said(kept()), answer, said(kept())]
    assert await api.create(SECRET, OBJECT) == kept()
    assert await api.replace(SECRET, OBJECT) == kept()
    assert [asked[0] for asked in script.asked] == ["POST", "POST", "PUT", "PUT"]


@pytest.mark.parametrize(
    "answer",
    [refused(500), refused(500, Retry_After="0"), refused(502), refused(503), refused(504, Retry_After="0"), cut],
)
async def test_what_may_have_been_done_is_not_done_twice(server: Server, answer: Handler) -> None:
    script, api = server
    script.answers = [answer]
    for attempt in (api.create(SECRET, OBJECT), api.replace(SECRET, OBJECT)):
        with pytest.raises((ApiRefused, ApiUnavailable)):
            await attempt
    assert [asked[0] for asked in script.asked] == ["POST", "PUT"]


@pytest.mark.parametrize(
    "answer", [refused(429), refused(502), refused(503), refused(504), refused(500, Retry_After="0"), cut]
)
async def test_what_is_the_same_when_it_is_done_twice_is_done_again(server: Server, answer: Handler) -> None:
    script, api = server
    script.answers = [answer, said(kept()), answer, said(kept()), answer, said({})]
    await api.apply(SECRET, OBJECT)
    await api.merge(SECRET, "s", "n", {})
    await api.delete(SECRET, "s", "n")
    assert len(script.asked) == 6


async def test_a_change_that_fails_by_a_fault_of_the_cluster_is_told_at_once(server: Server) -> None:
    script, api = server
    script.answers = [refused(500, "Internal error occurred: failed calling webhook", "InternalError")]
    with pytest.raises(ApiRefused, match="failed calling webhook"):
        await api.apply(SECRET, OBJECT)
    assert len(script.asked) == 1


@pytest.mark.usefixtures("impatient")
async def test_an_api_server_that_never_has_time_is_unavailable(server: Server) -> None:
    script, api = server
    script.answers = [refused(429, "too many requests")]
    with pytest.raises(ApiUnavailable, match=r"has no time: .*too many requests"):
        await api.get(SECRET, "s", "n")
    assert len(script.asked) > 1


@pytest.mark.usefixtures("impatient")
async def test_an_api_server_that_has_a_fault_for_good_is_quoted(server: Server) -> None:
    script, api = server
    script.answers = [refused(500, "etcd is broken")]
    with pytest.raises(ApiRefused, match="etcd is broken"):
        await api.get(SECRET, "s", "n")
    assert len(script.asked) > 1


async def test_a_time_beyond_our_patience_is_not_awaited(server: Server) -> None:
    script, api = server
    script.answers = [refused(429, Retry_After="600")]
    with pytest.raises(ApiUnavailable, match="has no time"):
        await api.get(SECRET, "s", "n")
    assert len(script.asked) == 1


@pytest.mark.usefixtures("impatient")
async def test_an_api_server_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    async with serving(tmp_path) as (script, api):
        script.answers = [said(VERSION)]
        await api.open()
    with pytest.raises(ProviderUnavailable, match="does not answer"):
        await api.open()


# What is in between


@pytest.mark.parametrize(
    "body",
    (
        b"<html>",
        b"",
        b"[1]",
        b"null",
        b'{"a":',
        b"\xff",
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"metadata":null}',
        b'{"metadata":[]}',
    ),
)
async def test_what_is_no_answer_of_an_api_server_is_unavailable(server: Server, body: bytes) -> None:
    script, api = server
    script.answers = [pieces(body)]
    with pytest.raises(ApiUnavailable, match="what answers for the Kubernetes API"):
        await api.get(SECRET, "s", "n")


@pytest.mark.parametrize("status", [302, 400, 403, 404, 407, 409, 410])
async def test_the_word_of_a_proxy_is_not_that_of_the_api_server(server: Server, status: int) -> None:
    script, api = server
    script.answers = [plain(status, "<html>\x1b[31mBlocked</html>", Location="https://login.example.org/")]
    with pytest.raises(ApiUnavailable, match=rf"something else .* get Secret s with {status}: '<html>") as caught:
        await api.get(SECRET, "s", "n")
    assert "\x1b" not in str(caught.value)
    with pytest.raises(ApiUnavailable, match=str(status)):
        await anext(api.watch(POD, "n", "", "1"))


async def test_an_api_server_says_of_groups_it_does_not_have_no_more_than_that(server: Server) -> None:
    script, api = server
    script.answers = [plain(404, "404 page not found\n")]
    with pytest.raises(ApiNotFound):
        await api.get(SECRET, "s", "n")


# How much is read


async def test_an_object_that_is_too_large_to_be_one_is_not_read(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, api = server
    monkeypatch.setattr(exchange, "MAX_OBJECT", 1000)
    script.answers = [pieces(b"x" * 600, b"x" * 600)]
    with pytest.raises(ApiUnavailable, match="answers get Secret s with more than 1,000 bytes"):
        await api.get(SECRET, "s", "n")
    assert len(script.asked) == 1
    packed = gzip.compress(b" " * 5000)

    async def small_outside(request: web.Request) -> web.StreamResponse:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    script.answers = [small_outside]
    with pytest.raises(ApiUnavailable, match="with more than 1,000 bytes"):
        await api.get(SECRET, "s", "n")


async def test_a_refusal_without_end_is_cut(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    script, api = server
    monkeypatch.setattr(answers, "MAX_REFUSAL", 1000)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=418)
        await response.prepare(request)
        while True:
            await response.write(b"no " * 1000)

    script.answers = [endless]
    with pytest.raises(ApiUnavailable, match="418: 'no no"):
        await api.get(SECRET, "s", "n")


async def test_a_line_without_end_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    script, api = server
    monkeypatch.setattr(answers, "MAX_OBJECT", 1000)
    script.answers = [pieces(b"x" * 2000)]
    with pytest.raises(ApiUnavailable, match="a line of more than 1,000 bytes"):
        await anext(api.watch(POD, "n", "", "1"))


async def test_an_answer_that_never_ends_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    script, api = server
    monkeypatch.setattr(exchange, "DEADLINE", 0.3)
    monkeypatch.setattr(exchange, "PATIENCE", 0.0)
    stay = asyncio.Event()
    script.answers = [pieces(b'{"metadata":', stay=stay)]
    with pytest.raises(ApiUnavailable, match=r"does not end its answer within 0\.3 s"):
        await api.get(SECRET, "s", "n")
    stay.set()


async def test_a_watch_that_is_cut_is_unavailable(server: Server) -> None:
    script, api = server

    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"type":"ADDED","obj')
        return await cut(request)

    script.answers = [broken]
    with pytest.raises(ApiUnavailable, match="does not answer"):
        await anext(api.watch(POD, "n", "", "1"))


async def test_what_the_cluster_does_not_take_is_the_callers_fault(server: Server) -> None:
    script, api = server
    script.answers = [refused(403, "exceeded quota: small", "Forbidden")]
    with pytest.raises(ApiInvalid, match="exceeded quota") as caught:
        await api.create(SECRET, OBJECT)
    assert caught.value.status == 400
