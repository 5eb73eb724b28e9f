"""`/system/logs`: the query as old and new clients send it, and the stream's beginning, middle and end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from starlette.datastructures import QueryParams

from penstock.control.logs import read_log_query
from penstock.errors import InvalidInput, ProviderUnavailable
from penstock.model import LogLine, LogQuery
from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import Answer, Client, record, until, within

LOGS = "/system/logs?name=cat"


async def deployed(client: Client, provider: MemoryProvider) -> None:
    await client.deploy("cat")
    await until(lambda: provider.runtime.starts, "the replica's start")


def texts(answer: Answer) -> list[str]:
    assert answer.body.endswith(b"\n") or not answer.body
    return [msgspec.json.decode(line)["text"] for line in answer.body.splitlines()]


class Reader:
    """A client that reads a stream until it hangs up."""

    def __init__(self, client: Client, target: str) -> None:
        self.answer = Answer()
        self.pieces: list[bytes] = []
        self._gone = asyncio.Event()
        self._asked = False
        self.task = asyncio.ensure_future(client.app(client.scope("GET", target, {}), self._receive, self._send))

    def hang_up(self) -> None:
        self._gone.set()

    async def _receive(self) -> MutableMapping[str, Any]:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        record(self.answer, message)
        if message["type"] == "http.response.body" and message["body"]:
            self.pieces.append(message["body"])


async def test_kept_lines_come_as_ndjson_with_all_fields(client: Client, provider: MemoryProvider) -> None:
    await deployed(client, provider)
    answer = await client.get(LOGS)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert texts(answer) == ["first line", "second line", "third line"]
    first = msgspec.json.decode(answer.body.splitlines()[0])
    assert list(first) == ["name", "namespace", "instance", "timestamp", "text"]
    assert (first["name"], first["namespace"]) == ("cat", "openfaas-fn")
    assert first["instance"]
    assert first["timestamp"].endswith("Z")


async def test_the_tail_a_cli_sends_by_default_means_all_lines(client: Client, provider: MemoryProvider) -> None:
    await deployed(client, provider)
    assert len(texts(await client.get(f"{LOGS}&follow=false&tail=-1"))) == 3


async def test_tail_keeps_the_last_lines(client: Client, provider: MemoryProvider) -> None:
    await deployed(client, provider)
    assert texts(await client.get(f"{LOGS}&tail=2")) == ["second line", "third line"]


async def test_another_instance_has_no_lines(client: Client, provider: MemoryProvider) -> None:
    await deployed(client, provider)
    assert texts(await client.get(f"{LOGS}&instance=nobody")) == []


async def test_since_in_the_future_has_no_lines(client: Client, provider: MemoryProvider) -> None:
    await deployed(client, provider)
    assert texts(await client.get(f"{LOGS}&since=2999-01-01T00:00:00Z")) == []


async def test_the_last_of_repeated_parameters_counts(client: Client, provider: MemoryProvider) -> None:
    await deployed(client, provider)
    assert texts(await client.get(f"{LOGS}&tail=x&tail=3&tail=1")) == ["third line"]


async def test_following_sends_the_head_at_once_and_each_line_as_it_comes(
    client: Client, provider: MemoryProvider
) -> None:
    await deployed(client, provider)
    reader = Reader(client, f"{LOGS}&follow=1&since=2999-01-01T00:00:00Z")
    await until(lambda: reader.answer.status == 200, "the head")
    assert reader.pieces == []
    reader.hang_up()
    await within(reader.task)
    reader = Reader(client, f"{LOGS}&follow=true")
    await until(lambda: len(reader.pieces) == 3, "the kept lines")
    provider.runtime.write(provider.runtime.starts[0], "a fresh line")
    await until(lambda: len(reader.pieces) == 4, "the fresh line")
    assert texts(reader.answer)[-1] == "a fresh line"
    reader.hang_up()
    await within(reader.task)


async def test_a_client_that_leaves_ends_the_providers_iterator_even_while_nothing_is_written(
    client: Client, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = asyncio.Event()

    async def silent(query: LogQuery) -> AsyncIterator[LogLine]:
        try:
            await asyncio.Event().wait()
            yield LogLine(name="", namespace="", instance="", timestamp=datetime.now(UTC), text="")
        finally:
            closed.set()

    await deployed(client, provider)
    monkeypatch.setattr(provider, "logs", silent)
    reader = Reader(client, f"{LOGS}&follow=1")
    await until(lambda: reader.answer.status, "the head")
    reader.hang_up()
    await within(reader.task)
    assert closed.is_set()


async def test_a_stream_that_follows_ends_when_the_process_stops(
    client: Client, provider: MemoryProvider, stopping: asyncio.Event
) -> None:
    await deployed(client, provider)
    reader = Reader(client, f"{LOGS}&follow=1")
    await until(lambda: reader.pieces, "the kept lines")
    stopping.set()
    await within(reader.task)
    assert texts(reader.answer)[:1] == ["first line"]


async def test_a_source_that_breaks_cuts_the_answer(
    client: Client, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(query: LogQuery) -> AsyncIterator[LogLine]:
        yield LogLine(name="cat", namespace="n", instance="i", timestamp=datetime.now(UTC), text="last words")
        raise ProviderUnavailable("the engine went away")

    await deployed(client, provider)
    monkeypatch.setattr(provider, "logs", broken)
    reader = Reader(client, LOGS)
    with pytest.raises(ProviderUnavailable):
        await within(reader.task)
    assert texts(reader.answer) == ["last words"]


async def test_an_unknown_function_is_404_even_when_following(client: Client) -> None:
    assert (await client.get("/system/logs?name=nothing&follow=1")).status == 404


@pytest.mark.parametrize("query", ["", "?name=", "?name=..%2Fx", "?name=a&namespace=..", "?name=A"])
async def test_a_name_that_cannot_be_used_is_400(client: Client, query: str) -> None:
    assert (await client.get(f"/system/logs{query}")).status == 400


@pytest.mark.parametrize(
    "query",
    [
        "tail=x",
        "tail=1.5",
        "tail=1_0",
        "tail=%D9%A1",
        "tail=" + "9" * 30,
        "since=yesterday",
        "since=2026-01-01",
        "since=2026-01-01T00:00:00",
        "since=2026-01-01T00:00:00+02:00",  # an unescaped plus is a blank
        "since=2026-13-01T00:00:00Z",
        "since=0000-01-01T00:00:00Z",
    ],
)
async def test_a_query_that_cannot_be_read_is_422_in_known_words(client: Client, query: str) -> None:
    await client.deploy("cat")
    answer = await client.get(f"{LOGS}&{query}")
    assert (answer.status, answer.text) == (422, "could not parse the log request\n")


def read(query: str) -> LogQuery:
    return read_log_query("cat", "openfaas-fn", QueryParams(query))


@pytest.mark.parametrize("text", ["1", "t", "T", "true", "TRUE", "True"])
def test_follow_is_what_go_takes_for_true(text: str) -> None:
    assert read(f"follow={text}").follow


@pytest.mark.parametrize("text", ["0", "false", "yes", "on", "tRUE", "", "maybe"])
def test_anything_else_does_not_follow(text: str) -> None:
    assert not read(f"follow={text}").follow


@pytest.mark.parametrize(("text", "tail"), [("", -1), ("-1", -1), ("0", 0), ("%2B5", 5), ("007", 7)])
def test_tail_is_read_as_go_reads_numbers(text: str, tail: int) -> None:
    assert read(f"tail={text}").tail == tail


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2026-01-02T03:04:05%2B02:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))),
    ],
)
def test_since_is_a_time_with_a_zone(text: str, moment: datetime) -> None:
    assert read(f"since={text}").since == moment


def test_a_missing_since_is_no_limit() -> None:
    assert read("").since is None


def test_the_fault_is_named_for_the_log() -> None:
    with pytest.raises(InvalidInput, match="tail: 'x' is not a whole number"):
        read("tail=x")


@pytest.mark.parametrize("follow", ["", "&follow=1"])
async def test_a_pipeline_has_no_logs_and_its_stages_are_named(client: Client, follow: str) -> None:
    await client.deploy("cat", envProcess="", pipeline=["sort", "uniq.dev"])
    answer = await client.get(LOGS + follow)
    assert answer.status == 400
    assert "writes no logs; read those of sort.openfaas-fn, uniq.dev" in answer.text
