"""Requests by reference, from their checks to what the function and the client see; the store is one in memory."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable

import pytest

from penstock.core.policy import Policy
from penstock.core.tokens import derive_key, function_token
from penstock.credentials import load_credentials
from penstock.gateway.byreference import ByReference
from penstock.gateway.callers import Callers
from penstock.gateway.messages import Counters, Route, Synced
from penstock.storage.attributes import HOPS
from penstock.storage.errors import StorageUnavailable, UploadFailed
from penstock.storagesettings import StorageSettings
from penstock.wire.connection import WRITE_HIGH
from penstock.wire.exchange import Exchange
from tests.unit.gateway.objects import PIECE, FakeStore
from tests.unit.gateway.support import DEADLINE, Answer, Application, Gateway, Recorder, dropping, echo, eventually

IN, OUT = ("X-Input-Object", "s3://inbox/a"), ("X-Output-Object", "s3://outbox/b")
LARGE = bytes(range(256)) * (16 << 10)  # 4 MiB


class Stored(Gateway):
    """A gateway with a store. Nobody is asked who they are, unless a test says so."""

    def __init__(self, no_auth: bool = True) -> None:
        super().__init__(storage=StorageSettings(buckets="inbox,outbox"), no_auth=no_auth)
        self.store = FakeStore()
        worker, settings = self.worker, self.settings
        callers = Callers(settings.paths, {}, settings.no_auth)
        worker.invoker.by_reference = ByReference(worker.routes, callers, settings.storage.allowed, lambda: self.store)

    async def function(self, app: Application, key: str = "x.openfaas-fn", **policy: object) -> None:
        await self.deploy(key, await self.replica(app), failed=False, **policy)

    async def counted(self) -> list[int]:
        """The statuses that the first requests were counted with, once there are any."""
        reports = self.control.sessions[-1]
        return await eventually(
            lambda: [one.code for report in reports.all(Counters) for one in report.completed],
            "a request to be counted",
        )

    async def post(self, *headers: tuple[str, str], target: str = "/function/x", host: str = "localhost") -> Answer:
        """A request without a body."""
        client = await self.client()
        client.begin("POST", target, [("Host", host), ("Content-Length", "0"), *headers])
        client.end()
        return await client.answer()


@pytest.fixture
async def gateway() -> AsyncIterator[Stored]:
    running = Stored()
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
async def guarded() -> AsyncIterator[Stored]:
    running = Stored(no_auth=False)
    await running.start()
    running.store.put("a", b"input")
    yield running
    await running.stop()


# The input.


async def test_the_function_gets_the_object_for_its_body(gateway: Stored) -> None:
    gateway.store.put("a", b"the object")
    await gateway.function(echo)
    answer = await gateway.post(IN)
    assert (answer.status, answer.body) == (200, b"the object")
    await eventually(lambda: gateway.store.streams[0].closed, "the object to be closed")


async def test_a_large_object_arrives_whole(gateway: Stored) -> None:
    gateway.store.put("a", LARGE)
    await gateway.function(echo)
    assert (await gateway.post(IN)).body == LARGE


async def test_an_empty_object_is_an_empty_body(gateway: Stored) -> None:
    function = Recorder()
    gateway.store.put("a", b"")
    await gateway.function(function)
    assert (await gateway.post(IN)).status == 200
    assert function.got(b"content-length") == [b"0"]


async def test_the_function_sees_neither_reference_nor_credential_and_the_length_and_type_of_the_object(
    gateway: Stored,
) -> None:
    function = Recorder()
    gateway.store.put("a", b"12345")
    gateway.store.attributes = {"Content-Type": "text/csv"}
    await gateway.function(function)
    await gateway.post(IN, OUT, ("Authorization", "Bearer x"), ("X-Mine", "1"), ("Range", "bytes=1-3"))
    assert function.got(b"content-length") == [b"3"]
    assert function.got(b"content-type") == [b"text/csv"]
    assert function.got(b"x-mine") == [b"1"]
    for name in (b"x-input-object", b"x-output-object", b"authorization", b"range"):
        assert function.got(name) == []


async def test_the_callers_own_content_type_counts(gateway: Stored) -> None:
    function = Recorder()
    gateway.store.put("a", b"12345")
    gateway.store.attributes = {"Content-Type": "text/csv"}
    await gateway.function(function)
    await gateway.post(IN, ("Content-Type", "text/plain"))
    assert function.got(b"content-type") == [b"text/plain"]


@pytest.mark.parametrize(
    ("asked", "body"),
    [
        ("bytes=2-4", b"234"),
        ("bytes=7-", b"789"),
        ("bytes=-2", b"89"),
        ("bytes=-99", b"0123456789"),
        ("bytes=0-99", b"0123456789"),
    ],
)
async def test_a_range_of_the_object_is_the_body(gateway: Stored, asked: str, body: bytes) -> None:
    gateway.store.put("a", b"0123456789")
    await gateway.function(echo)
    answer = await gateway.post(IN, ("Range", asked))
    assert (answer.status, answer.body) == (200, body)


async def test_a_range_beyond_the_object_is_a_416(gateway: Stored) -> None:
    gateway.store.put("a", b"0123456789")
    await gateway.function(echo)
    answer = await gateway.post(IN, ("Range", "bytes=10-"))
    assert (answer.status, answer.get("content-range")) == (416, "bytes */10")


async def test_without_an_input_object_a_range_is_the_functions_own_business(gateway: Stored) -> None:
    function = Recorder()
    await gateway.function(function)
    await gateway.post(OUT, ("Range", "bytes=1-3"))
    assert function.got(b"range") == [b"bytes=1-3"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("s3://inbox/a%20b%2Bc+d", "a b+c+d"),
        ("s3://inbox/%E2%98%83/%25", "\N{SNOWMAN}/%"),
        ("s3://inbox/a..b/c?d#e=f", "a..b/c?d#e=f"),
    ],
)
async def test_keys_of_all_kinds_are_reached(gateway: Stored, text: str, key: str) -> None:
    gateway.store.put(key, b"found")
    await gateway.function(echo)
    assert (await gateway.post(("X-Input-Object", text))).body == b"found"


async def test_a_key_in_raw_utf8_is_reached(gateway: Stored) -> None:
    gateway.store.put("é", b"found")
    await gateway.function(echo)
    head = "POST /function/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Input-Object: s3://inbox/é\r\n\r\n"
    assert (await gateway.raw(head.encode())).endswith(b"\r\n\r\nfound")


async def test_no_more_is_read_than_a_function_takes(gateway: Stored) -> None:
    held: list[Exchange] = []
    gateway.store.put("a", LARGE * 4)
    await gateway.function(held.append)
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "localhost"), IN])
    client.end()
    exchange = (await eventually(lambda: held, "the request at the function"))[0]
    stream = gateway.store.streams[0]
    await settled(lambda: stream.given)
    # What transports and the kernel hold on both sides, and a piece ahead.
    assert 0 < stream.given < 4 * WRITE_HIGH + (4 << 20) + 2 * PIECE < len(LARGE * 4)
    body = await exchange.read()
    assert body == LARGE * 4
    exchange.respond(200)


async def test_an_answer_before_the_end_of_the_object_ends_the_reading(gateway: Stored) -> None:
    gateway.store.put("a", LARGE * 4)
    await gateway.function(Recorder(body=b"enough"))
    answer = await gateway.post(IN)
    assert (answer.status, answer.body) == (200, b"enough")
    await eventually(lambda: gateway.store.streams[0].closed, "the object to be closed")
    assert gateway.store.streams[0].given < len(LARGE * 4)


async def test_a_client_that_leaves_ends_the_reading_and_the_function(gateway: Stored) -> None:
    held: list[Exchange] = []
    gateway.store.put("a", LARGE * 4)
    await gateway.function(held.append)
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "localhost"), IN])
    client.end()
    exchange = (await eventually(lambda: held, "the request at the function"))[0]
    client.close()
    await eventually(lambda: gateway.store.streams[0].closed, "the object to be closed")
    await eventually(lambda: exchange.done, "the function to hear of it")
    await gateway.inflight("x.openfaas-fn", 0)


async def test_a_client_that_leaves_while_the_object_is_looked_for_is_forgotten(gateway: Stored) -> None:
    function = Recorder()
    gateway.store.may_open.clear()
    gateway.store.put("a", b"x")
    await gateway.function(function)
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "localhost"), IN])
    client.end()
    tasks = gateway.worker.invoker.by_reference._tasks
    await eventually(lambda: tasks, "the request to be checked")
    client.close()
    await eventually(lambda: not tasks, "the check to end")
    gateway.store.may_open.set()
    assert not function.exchanges
    assert not gateway.store.streams


async def test_a_store_that_stops_in_the_middle_is_a_502_and_the_function_is_cut(gateway: Stored) -> None:
    held: list[Exchange] = []
    gateway.store.put("a", LARGE)
    gateway.store.read_error, gateway.store.read_error_at = StorageUnavailable("the store has gone"), PIECE
    await gateway.function(held.append)
    answer = await gateway.post(IN)
    assert answer.status == 502
    assert "could not be read to its end: the store has gone" in answer.text
    await eventually(lambda: held and held[0].done, "the function to hear of it")
    assert await gateway.counted() == [502]


async def test_a_store_that_stops_after_the_answer_began_cuts_it(gateway: Stored) -> None:
    gateway.store.put("a", LARGE)
    gateway.store.read_error, gateway.store.read_error_at = StorageUnavailable("the store has gone"), 2 << 20
    await gateway.function(mirror)
    answer = await gateway.post(IN)
    assert answer.status == 200
    assert not answer.complete
    assert await gateway.counted() == [502]


async def test_a_store_that_stops_is_told_in_the_log(gateway: Stored, caplog: pytest.LogCaptureFixture) -> None:
    gateway.store.put("a", LARGE)
    gateway.store.read_error, gateway.store.read_error_at = StorageUnavailable("the store has gone"), PIECE
    await gateway.function(lambda exchange: None)
    await gateway.post(IN)
    assert "s3://inbox/a: the object could not be read to its end: the store has gone" in caplog.text


async def test_a_reader_that_fails_by_our_own_fault_is_a_502_too(
    gateway: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    gateway.store.put("a", LARGE)
    gateway.store.read_error, gateway.store.read_error_at = RuntimeError("a fault"), PIECE
    await gateway.function(lambda exchange: None)
    answer = await gateway.post(IN)
    assert (answer.status, "a fault" in answer.text) == (502, False)
    assert "RuntimeError: a fault" in caplog.text


async def test_a_store_that_stops_fails_the_pipeline_that_reads_it(gateway: Stored) -> None:
    gateway.store.put("a", LARGE)
    gateway.store.read_error, gateway.store.read_error_at = StorageUnavailable("the store has gone"), PIECE
    await gateway.function(mirror)
    await gateway.function(lambda exchange: None, key="y.openfaas-fn")
    assert (await gateway.post(IN, target="/function/x|y")).status == 502
    assert 502 in await gateway.counted()


async def test_a_store_that_stops_while_the_answer_is_stored_leaves_nothing(gateway: Stored) -> None:
    gateway.store.put("a", LARGE)
    gateway.store.read_error, gateway.store.read_error_at = StorageUnavailable("the store has gone"), 2 << 20
    await gateway.function(mirror)
    assert (await gateway.post(IN, OUT)).status == 502
    await eventually(lambda: gateway.store.uploads[0].aborted, "the upload to be given up")
    assert await gateway.counted() == [502]


async def test_a_client_that_leaves_is_still_counted_as_gone(gateway: Stored) -> None:
    held: list[Exchange] = []
    gateway.store.put("a", LARGE * 4)
    await gateway.function(held.append)
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "localhost"), IN])
    client.end()
    await eventually(lambda: held, "the request at the function")
    client.close()
    assert await gateway.counted() == [499]


async def test_a_request_that_waited_for_a_replica_gets_its_object(gateway: Stored) -> None:
    gateway.store.put("a", b"input")
    await gateway.deploy("x.openfaas-fn")
    call = asyncio.create_task(gateway.post(IN))
    await gateway.waiting("x.openfaas-fn", 1)
    await gateway.function(echo)
    assert (await call).body == b"input"


async def test_a_replica_that_cannot_be_reached_costs_nothing_of_the_object(gateway: Stored) -> None:
    gateway.store.put("a", LARGE)
    await gateway.deploy("x.openfaas-fn", "unix:/nowhere", await gateway.replica(echo))
    for _ in range(4):  # one of the two is picked by chance
        answer = await gateway.post(IN)
        assert (answer.status, answer.body == LARGE) == (200, True)


# The output.


async def test_the_answer_becomes_an_object_and_the_client_hears_which(gateway: Stored) -> None:
    await gateway.function(Recorder(body=b"result", fields=[(b"Content-Type", b"image/png"), (b"X-Own", b"1")]))
    answer = await gateway.post(OUT)
    assert answer.status == 201
    about = json.loads(answer.body)
    assert about.pop("durationSeconds") >= 0
    assert about == {"bucket": "outbox", "key": "b", "etag": "e-tag", "size": 6, "contentType": "image/png"}
    assert answer.get("content-type") == "application/json"
    assert answer.get("x-call-id")
    assert answer.get("x-start-time")
    assert answer.get("x-served-by").startswith("penstock/")
    assert answer.get("x-own") == ""
    assert gateway.store.get("b") == b"result"
    assert gateway.store.uploads[0].attributes == {"Content-Type": "image/png"}


async def test_what_describes_the_answer_is_kept_with_the_object(gateway: Stored) -> None:
    described = {
        "Content-Type": "text/html",
        "Content-Encoding": "gzip",
        "Content-Language": "de",
        "Content-Disposition": "inline",
        "Cache-Control": "max-age=3",
    }
    fields = [(name.encode(), value.encode()) for name, value in described.items()]
    await gateway.function(lambda exchange: exchange.respond(200, [*fields, (b"X-Mine", b"1")], b"x"))
    assert (await gateway.post(OUT)).status == 201
    assert gateway.store.uploads[0].attributes == described


async def test_a_type_that_no_store_could_give_back_is_neither_kept_nor_told(gateway: Stored) -> None:
    fields = [(b"Content-Type", b"text/\xfc")]
    await gateway.function(lambda exchange: exchange.respond(200, fields, b"x"))
    answer = await gateway.post(OUT)
    assert (answer.status, json.loads(answer.body)["contentType"]) == (201, "")
    assert gateway.store.uploads[0].attributes == {}


async def test_a_call_about_an_event_counts_how_far_its_object_has_come(gateway: Stored) -> None:
    gateway.store.put("a", b"x")
    gateway.store.attributes = {HOPS: "3"}
    await gateway.function(echo)
    event = ("X-Event-Name", "s3:ObjectCreated:Put")
    assert (await gateway.post(IN, OUT, event)).status == 201
    assert (await gateway.post(IN, OUT)).status == 201
    assert [upload.attributes.get(HOPS) for upload in gateway.store.uploads] == ["4", None]


async def test_an_object_that_has_come_through_too_many_functions_calls_no_further_one(gateway: Stored) -> None:
    function = Recorder()
    gateway.store.put("a", b"x")
    gateway.store.attributes = {HOPS: "16"}
    await gateway.function(function)
    answer = await gateway.post(IN, OUT, ("X-Event-Name", "s3:ObjectCreated:Put"))
    assert answer.status == 422
    assert "they seem to feed each other" in answer.text
    assert not function.exchanges
    assert gateway.store.streams[0].closed
    assert not gateway.store.uploads


async def test_the_connection_serves_the_next_request(gateway: Stored) -> None:
    gateway.store.put("a", b"input")
    await gateway.function(echo)
    client = await gateway.client()
    for _ in range(3):
        client.begin("POST", "/function/x", [("Host", "localhost"), IN, OUT])
        client.end()
        assert (await client.answer()).status == 201
    client.send("POST", "/function/x", b"plain")
    assert (await client.answer()).body == b"plain"


@pytest.mark.parametrize("chunked", [True, False])
async def test_what_the_client_sends_can_become_an_object(gateway: Stored, chunked: bool) -> None:
    await gateway.function(echo)
    client = await gateway.client()
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(LARGE)))
    client.begin("POST", "/function/x", [("Host", "localhost"), framing, OUT])
    client.write(LARGE)
    client.end()
    assert (await client.answer()).status == 201
    assert gateway.store.get("b") == LARGE


async def test_a_chunked_answer_is_stored_without_its_chunks(gateway: Stored) -> None:
    def function(exchange: Exchange) -> None:
        exchange.start(200)
        for _ in range(64):
            exchange.write(LARGE[: 64 << 10])
        exchange.finish()

    await gateway.function(function)
    assert (await gateway.post(OUT)).status == 201
    assert gateway.store.get("b") == LARGE[: 64 << 10] * 64


async def test_an_answer_that_ends_by_closing_is_stored(gateway: Stored) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")
        writer.close()

    await gateway.deploy("x.openfaas-fn", await gateway.raw_replica(serve))
    assert (await gateway.post(OUT)).status == 201
    assert gateway.store.get("b") == b"to the end"


async def test_an_empty_answer_is_an_empty_object(gateway: Stored) -> None:
    await gateway.function(Recorder(status=204, body=b""))
    assert (await gateway.post(OUT)).status == 201
    assert gateway.store.get("b") == b""


async def test_from_object_to_object(gateway: Stored) -> None:
    gateway.store.put("a", LARGE)
    await gateway.function(mirror)
    answer = await gateway.post(IN, OUT)
    assert (answer.status, json.loads(answer.body)["size"]) == (201, len(LARGE))
    assert gateway.store.get("b") == LARGE


async def test_an_old_client_is_served(gateway: Stored) -> None:
    gateway.store.put("a", b"input")
    await gateway.function(echo)
    head = "POST /function/x HTTP/1.0\r\nHost: localhost\r\nX-Input-Object: s3://inbox/a\r\nX-Output-Object: s3://outbox/b\r\n\r\n"
    assert (await gateway.raw(head.encode())).startswith(b"HTTP/1.1 201 ")
    assert gateway.store.get("b") == b"input"


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_functions_error_reaches_the_client_as_it_is_and_nothing_is_stored(
    gateway: Stored, chunked: bool
) -> None:
    def function(exchange: Exchange) -> None:
        exchange.start(418, [(b"X-Why", b"teapot")], None if chunked else len(LARGE))
        exchange.write(LARGE)
        exchange.finish()

    await gateway.function(function)
    answer = await gateway.post(OUT)
    assert (answer.status, answer.get("x-why"), answer.body == LARGE, answer.complete) == (418, "teapot", True, True)
    assert not gateway.store.uploads


async def test_a_functions_error_that_is_cut_is_cut_for_the_client(gateway: Stored) -> None:
    def function(exchange: Exchange) -> None:
        exchange.start(500, [], 100)
        exchange.write(b"half")
        asyncio.get_running_loop().call_later(0.01, exchange.abort)

    await gateway.function(function)
    answer = await gateway.post(OUT)
    assert (answer.status, answer.complete) == (500, False)


async def test_an_object_that_must_be_new_is_not_written_over(gateway: Stored) -> None:
    function = Recorder(body=b"result")
    await gateway.function(function)
    assert (await gateway.post(OUT, ("If-None-Match", "*"))).status == 201
    assert function.got(b"if-none-match") == []
    answer = await gateway.post(OUT, ("If-None-Match", "*"))
    assert answer.status == 412
    assert "already" in answer.text
    assert (await gateway.post(OUT, ("If-None-Match", '"etag"'))).status == 400
    assert (await gateway.post(OUT)).status == 201


async def test_an_answer_that_is_cut_is_a_502_and_nothing_is_stored(gateway: Stored) -> None:
    held: list[Exchange] = []

    def function(exchange: Exchange) -> None:
        exchange.start(200)
        exchange.write(b"half")
        held.append(exchange)

    await gateway.function(function)
    call = asyncio.create_task(gateway.post(OUT))
    await eventually(lambda: gateway.store.uploads and gateway.store.uploads[0].data, "half of the answer")
    held[0].abort()
    answer = await call
    assert answer.status == 502
    assert "nothing was stored" in answer.text
    await eventually(lambda: gateway.store.uploads[0].aborted, "the upload to be aborted")
    assert gateway.store.get("b") is None
    assert await gateway.counted() == [502]


async def test_a_replica_that_dies_before_its_answer_is_a_502_without_upload(gateway: Stored) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.raw_replica(dropping([])))
    answer = await gateway.post(OUT)
    assert (answer.status, answer.get("x-openfaas-internal")) == (502, "gateway")
    assert not gateway.store.uploads


async def test_an_answer_that_takes_too_long_is_a_504_and_nothing_is_stored(gateway: Stored) -> None:
    def function(exchange: Exchange) -> None:
        exchange.start(200)
        exchange.write(b"half")

    await gateway.function(function, timeout=0.3)
    answer = await gateway.post(OUT)
    assert answer.status == 504
    await eventually(lambda: all(upload.aborted for upload in gateway.store.uploads), "the uploads to be aborted")
    assert await gateway.counted() == [504]


async def test_a_store_that_never_finishes_is_a_504(gateway: Stored) -> None:
    gateway.store.may_finish.clear()
    await gateway.function(Recorder(), timeout=0.2, queue_timeout=0.1)
    answer = await gateway.post(OUT)
    assert answer.status == 504
    await eventually(lambda: all(upload.aborted for upload in gateway.store.uploads), "the uploads to be aborted")


async def test_a_client_that_leaves_aborts_the_upload_and_the_function(gateway: Stored) -> None:
    held: list[Exchange] = []

    def function(exchange: Exchange) -> None:
        exchange.start(200)
        exchange.write(b"half")
        held.append(exchange)

    await gateway.function(function)
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "localhost"), OUT])
    client.end()
    await eventually(lambda: gateway.store.uploads and gateway.store.uploads[0].data, "half of the answer")
    client.close()
    await eventually(lambda: gateway.store.uploads[0].aborted, "the upload to be aborted")
    await eventually(lambda: held[0].done, "the function to hear of it")
    assert gateway.store.get("b") is None


async def test_a_client_that_leaves_while_the_store_finishes_aborts_the_upload(gateway: Stored) -> None:
    gateway.store.may_finish.clear()
    await gateway.function(Recorder())
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "localhost"), OUT])
    client.end()
    await gateway.inflight("x.openfaas-fn", 0)
    await eventually(lambda: gateway.store.uploads and gateway.store.uploads[0].data, "the whole answer")
    client.close()
    await eventually(lambda: gateway.store.uploads[0].aborted, "the upload to be aborted")


@pytest.mark.parametrize("when", ["write_error", "finish_error"])
async def test_a_store_that_fails_is_told_to_the_client_and_in_the_log(
    gateway: Stored, when: str, caplog: pytest.LogCaptureFixture
) -> None:
    setattr(gateway.store, when, UploadFailed("no space left in the store"))
    await gateway.function(mirror)
    gateway.store.put("a", LARGE)
    answer = await gateway.post(IN, OUT)
    assert answer.status == 502
    assert "no space left" in answer.text
    assert "s3://outbox/b: the object could not be stored: no space left in the store" in caplog.text
    await gateway.inflight("x.openfaas-fn", 0)
    await eventually(lambda: gateway.store.uploads[0].aborted and gateway.store.streams[0].closed, "the ends")


async def test_a_function_that_is_ended_because_nothing_can_be_stored_is_not_counted_as_its_client_leaving(
    gateway: Stored,
) -> None:
    held: list[Exchange] = []
    gateway.store.write_error = UploadFailed("no space left in the store")
    await gateway.function(lambda exchange: begin_answer(exchange, held))
    assert (await gateway.post(OUT)).status == 502
    assert await gateway.counted() == [502]


async def test_an_input_that_breaks_off_leaves_no_output(gateway: Stored) -> None:
    gateway.store.put("a", LARGE)
    gateway.store.read_error, gateway.store.read_error_at = StorageUnavailable("the store has gone"), 2 << 20
    await gateway.function(mirror)
    answer = await gateway.post(IN, OUT)
    assert answer.status == 502
    assert "the store has gone" in answer.text
    await eventually(lambda: all(upload.aborted for upload in gateway.store.uploads), "the upload to be aborted")
    assert gateway.store.get("b") is None


async def test_a_worker_that_ends_waits_until_uploads_are_given_up(gateway: Stored) -> None:
    held: list[Exchange] = []
    gateway.store.may_abort.clear()
    await gateway.function(lambda exchange: begin_answer(exchange, held))
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "localhost"), OUT])
    client.end()
    await eventually(lambda: gateway.store.uploads, "the upload to begin")
    assert not await gateway.worker.server.drain(0)
    closing = asyncio.create_task(gateway.worker.invoker.by_reference.close(DEADLINE))
    await eventually(lambda: gateway.store.aborting, "the upload to be given up")
    assert not closing.done()
    gateway.store.may_abort.set()
    await closing
    assert gateway.store.uploads[0].aborted


async def test_a_worker_that_ends_does_not_wait_for_a_store_for_ever(
    gateway: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    held: list[Exchange] = []
    gateway.store.may_abort.clear()
    await gateway.function(lambda exchange: begin_answer(exchange, held))
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "localhost"), OUT])
    client.end()
    await eventually(lambda: gateway.store.uploads, "the upload to begin")
    client.close()
    await gateway.worker.invoker.by_reference.close(0)
    assert "1 uploads could not be given up in time" in caplog.text
    gateway.store.may_abort.set()


async def test_a_worker_without_uploads_ends_at_once(gateway: Stored) -> None:
    await gateway.worker.invoker.by_reference.close(0)


def begin_answer(exchange: Exchange, held: list[Exchange]) -> None:
    """An answer that does not end."""
    held.append(exchange)
    exchange.start(200, [])
    exchange.write(b"beginning")


async def test_a_function_is_paused_while_the_store_takes_nothing(gateway: Stored) -> None:
    produced = 0
    paused = asyncio.Event()

    class Endless:
        def __init__(self, exchange: Exchange) -> None:
            self.exchange, self.ready = exchange, True
            exchange.attach(self)
            exchange.start(200)
            self.produce()

        def produce(self) -> None:
            nonlocal produced
            while self.ready and produced < 64 << 20:
                self.exchange.write(LARGE[: 64 << 10])
                produced += 64 << 10
            if produced >= 64 << 20:
                self.exchange.finish()

        def writable(self, ready: bool) -> None:
            self.ready = ready
            if ready:
                self.produce()
            else:
                paused.set()

        def body(self, data: bytes) -> None: ...
        def body_end(self) -> None: ...
        def client_gone(self) -> None: ...

    gateway.store.may_write.clear()
    await gateway.function(Endless)  # type: ignore[arg-type]
    call = asyncio.create_task(gateway.post(OUT))
    await paused.wait()
    await settled(lambda: produced)
    assert produced < 16 << 20
    gateway.store.may_write.set()
    answer = await call
    assert (answer.status, json.loads(answer.body)["size"]) == (201, 64 << 20)


# What is refused before anything runs.


async def test_without_storage_the_answer_says_how_to_set_it_up() -> None:
    plain = Gateway()
    await plain.start()
    try:
        function = Recorder()
        await plain.deploy("x.openfaas-fn", await plain.replica(function))
        for header in (IN, OUT):
            answer = await plain.call("/function/x", headers=[header])
            assert answer.status == 501
            assert "PENSTOCK_S3_BUCKETS" in answer.text
        assert not function.exchanges
    finally:
        await plain.stop()


@pytest.mark.parametrize(
    ("headers", "status", "said"),
    [
        ([("X-Input-Object", "")], 400, "X-Input-Object"),
        ([("X-Input-Object", "inbox/a")], 400, "s3://BUCKET/KEY"),
        ([("X-Input-Object", "s3://inbox/")], 400, "X-Input-Object"),
        ([("X-Output-Object", "s3://outbox/../secret")], 400, "X-Output-Object"),
        ([("X-Output-Object", "s3://outbox/a%00b")], 400, "control characters"),
        ([("X-Output-Object", "s3://outbox/%ff")], 400, "UTF-8"),
        ([("X-Output-Object", "s3://outbox/" + "k" * 1025)], 400, "1024"),
        ([IN, IN], 400, "twice"),
        ([IN, ("Range", "bytes=0-1,4-5")], 400, "Range"),
        ([("X-Input-Object", "s3://secrets/a")], 403, "secrets"),
        ([("X-Output-Object", "s3://secrets/a")], 403, "secrets"),
        ([("X-Input-Object", "s3://inbox/missing%20one")], 404, "missing%20one"),
    ],
)
async def test_what_cannot_be_is_refused_and_the_function_is_not_called(
    gateway: Stored, headers: list[tuple[str, str]], status: int, said: str
) -> None:
    function = Recorder()
    gateway.store.put("a", b"input")
    await gateway.function(function)
    answer = await gateway.post(*headers)
    assert (answer.status, answer.get("x-openfaas-internal")) == (status, "gateway")
    assert said in answer.text
    assert not function.exchanges
    assert not gateway.store.uploads


@pytest.mark.parametrize("framing", [("Content-Length", "4"), ("Transfer-Encoding", "chunked")])
async def test_a_body_beside_an_input_object_is_refused(gateway: Stored, framing: tuple[str, str]) -> None:
    gateway.store.put("a", b"input")
    await gateway.function(echo)
    client = await gateway.client()
    client.begin("POST", "/function/x", [("Host", "localhost"), framing, IN])
    client.write(b"body")
    client.end()
    answer = await client.answer()
    assert answer.status == 400
    assert "body" in answer.text


async def test_an_answer_to_head_cannot_be_stored(gateway: Stored) -> None:
    await gateway.function(echo)
    client = await gateway.client()
    client.begin("HEAD", "/function/x", [("Host", "localhost"), OUT])
    client.end()
    assert (await client.answer()).status == 400


async def test_a_reference_that_connection_names_away_is_none(gateway: Stored) -> None:
    function = Recorder()
    await gateway.function(function)
    assert (await gateway.post(OUT, ("Connection", "x-output-object"))).status == 200
    assert function.got(b"x-output-object") == []


async def test_a_function_that_is_not_deployed_is_a_404_of_its_own(gateway: Stored) -> None:
    gateway.store.put("a", b"input")
    await gateway.function(echo)
    answer = await gateway.post(IN, target="/function/other")
    assert answer.status == 404
    assert "other is not deployed" in answer.text
    assert not gateway.store.streams


async def test_a_functions_own_list_of_buckets_counts_for_both_ends(gateway: Stored) -> None:
    gateway.store.put("a", b"input")
    await gateway.function(echo, buckets=("inbox",))
    assert (await gateway.post(IN)).status == 200
    answer = await gateway.post(IN, OUT)
    assert answer.status == 403
    assert "com.penstock.storage.buckets of x.openfaas-fn" in answer.text


async def test_the_timeout_for_opening_is_that_of_the_request(gateway: Stored) -> None:
    gateway.store.may_open.clear()
    gateway.store.put("a", b"input")
    await gateway.function(echo, queue_timeout=0.1)
    answer = await gateway.post(IN, ("X-Timeout", "100ms"))
    assert answer.status == 504


async def test_a_store_that_cannot_be_reached_is_a_503(gateway: Stored) -> None:
    gateway.store.open_error = StorageUnavailable("no answer from the store")
    await gateway.function(echo)
    answer = await gateway.post(IN)
    assert (answer.status, answer.get("retry-after")) == (503, "1")


# Who may.


def basic(gateway: Gateway) -> str:
    credentials = load_credentials(gateway.settings.paths, {})
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()


def bearer(gateway: Gateway, key: str) -> str:
    return "Bearer " + function_token(derive_key(load_credentials(gateway.settings.paths, {}).password), key)


async def test_the_administrator_may_and_so_may_who_has_the_functions_token(guarded: Stored) -> None:
    await guarded.function(echo)
    for credential in (basic(guarded), bearer(guarded, "x.openfaas-fn")):
        for target in ("/function/x", "/function/x.openfaas-fn/path?q"):
            answer = await guarded.post(IN, ("Authorization", credential), target=target)
            assert (answer.status, answer.body) == (200, b"input")


async def test_without_a_credential_the_answer_is_401(guarded: Stored) -> None:
    await guarded.function(echo)
    answer = await guarded.post(IN)
    assert (answer.status, answer.get("www-authenticate")) == (401, 'Basic realm="Restricted"')


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Basic !!!", 401),
        ("Basic " + base64.b64encode(b"admin:wrong").decode(), 401),
        ("Digest x", 401),
        ("Bearer", 403),
        ("Bearer wrong", 403),
    ],
)
async def test_a_wrong_credential_is_refused_before_the_reference_is_looked_at(
    guarded: Stored, authorization: str, status: int
) -> None:
    await guarded.function(echo)
    answer = await guarded.post(("X-Input-Object", "nonsense"), ("Authorization", authorization))
    assert answer.status == status


async def test_a_token_beyond_ascii_is_refused(guarded: Stored) -> None:
    await guarded.function(echo)
    head = "POST /function/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Input-Object: s3://inbox/a\r\nAuthorization: Bearer \xff\r\n\r\n"
    assert (await guarded.raw(head.encode("latin-1"))).startswith(b"HTTP/1.1 403 ")


async def test_another_functions_token_is_refused(guarded: Stored) -> None:
    await guarded.function(echo)
    answer = await guarded.post(IN, ("Authorization", bearer(guarded, "y.openfaas-fn")))
    assert answer.status == 403
    assert "x.openfaas-fn" in answer.text


async def test_two_credentials_are_refused(guarded: Stored) -> None:
    await guarded.function(echo)
    answer = await guarded.post(IN, ("Authorization", basic(guarded)), ("Authorization", "Bearer x"))
    assert answer.status == 400


async def test_a_pipeline_without_a_name_needs_the_administrator(guarded: Stored) -> None:
    await guarded.function(echo)
    target = "/function/x|x"
    refused = await guarded.post(IN, ("Authorization", bearer(guarded, "x.openfaas-fn")), target=target)
    assert refused.status == 403
    answer = await guarded.post(IN, OUT, ("Authorization", basic(guarded)), target=target)
    assert answer.status == 201
    assert guarded.store.get("b") == b"input"


async def test_plain_calls_still_ask_nobody(guarded: Stored) -> None:
    await guarded.function(echo)
    assert (await guarded.call("/function/x", b"hello")).body == b"hello"


@pytest.mark.parametrize("headers", [[("Sec-Fetch-Site", "cross-site")], [("Origin", "https://evil.example")]])
async def test_a_page_of_another_site_may_not(guarded: Stored, headers: Iterable[tuple[str, str]]) -> None:
    await guarded.function(echo)
    answer = await guarded.post(IN, ("Authorization", basic(guarded)), *headers)
    assert answer.status == 403


async def test_without_authentication_a_name_that_only_resolves_to_us_is_refused(gateway: Stored) -> None:
    gateway.store.put("a", b"input")
    await gateway.function(echo)
    assert (await gateway.post(IN, host="evil.example:8080")).status == 403


# Pipelines.


async def test_a_pipeline_goes_from_object_to_object(gateway: Stored) -> None:
    gateway.store.put("a", LARGE)
    await gateway.function(mirror)
    await gateway.function(echo, "y.openfaas-fn")
    answer = await gateway.post(IN, OUT, target="/function/x|y|x")
    assert (answer.status, gateway.store.get("b") == LARGE) == (201, True)


async def name_pipeline(gateway: Stored, key: str, *stages: str, buckets: tuple[str, ...] | None = None) -> None:
    policy = Policy(timeout=DEADLINE, queue_timeout=DEADLINE, buckets=buckets)
    gateway.control.sessions[-1].send(Route(key=key, stages=stages, policy=policy), Synced())
    await eventually(lambda: gateway.worker.routes.find(key.encode()), "the pipeline to be known")


async def test_a_named_pipeline_has_a_token_and_a_list_of_its_own(guarded: Stored) -> None:
    await guarded.function(echo)
    await name_pipeline(guarded, "both.openfaas-fn", "x.openfaas-fn", "x.openfaas-fn/path", buckets=("inbox",))
    own, stages = bearer(guarded, "both.openfaas-fn"), bearer(guarded, "x.openfaas-fn")
    answer = await guarded.post(IN, ("Authorization", own), target="/function/both")
    assert (answer.status, answer.body) == (200, b"input")
    assert (await guarded.post(IN, ("Authorization", stages), target="/function/both")).status == 403
    assert (await guarded.post(OUT, ("Authorization", own), target="/function/both")).status == 403


async def test_timings_are_told_beside_what_was_stored(gateway: Stored) -> None:
    await gateway.function(echo)
    answer = await gateway.post(OUT, ("X-Server-Timing", "1"))
    assert answer.status == 201
    assert answer.get("server-timing").startswith("queue;dur=")
    assert (await gateway.post(OUT, target="/function/x|x")).get("x-pipeline-timings")


async def test_the_first_stages_list_is_for_the_input_and_the_last_ones_for_the_output(gateway: Stored) -> None:
    gateway.store.put("a", b"input")
    await gateway.function(echo, buckets=("inbox",))
    await gateway.function(echo, "y.openfaas-fn", buckets=("outbox",))
    assert (await gateway.post(IN, OUT, target="/function/x|y")).status == 201
    assert (await gateway.post(IN, OUT, target="/function/y|x")).status == 403


async def test_a_stage_that_fails_answers_for_the_pipeline_and_nothing_is_stored(gateway: Stored) -> None:
    gateway.store.put("a", b"input")
    await gateway.function(echo)
    await gateway.function(Recorder(status=500, body=b"broken"), "y.openfaas-fn")
    answer = await gateway.post(IN, OUT, target="/function/x|y|x")
    assert (answer.status, answer.body) == (500, b"broken")
    assert answer.get("x-pipeline-stage").startswith("2/3 ")
    assert gateway.store.get("b") is None


# Helpers.


class _Mirror:
    """Sends back what comes as it comes, no faster than it is taken."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        exchange.start(200)
        exchange.attach(self)

    def body(self, data: bytes) -> None:
        self.exchange.write(data)

    def body_end(self) -> None:
        self.exchange.finish()

    def client_gone(self) -> None: ...

    def writable(self, ready: bool) -> None:
        if ready:
            self.exchange.resume()
        else:
            self.exchange.pause()


def mirror(exchange: Exchange) -> None:
    _Mirror(exchange)


async def settled(value: object) -> None:
    """Until a number has stopped changing."""
    assert callable(value)
    last, same = value(), 0
    while same < 20:
        await asyncio.sleep(0.01)
        last, same = (value(), same + 1) if value() == last else (value(), 0)
