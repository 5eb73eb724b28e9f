"""`/system/storage/…`: what stores post, who may post it, and what administrators see of it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock.control import storageevents
from penstock.control.app import create_app, route_table
from penstock.control.feed import Feed
from penstock.control.storageevents import StorageEvents
from penstock.core.policy import Policy
from penstock.core.tokens import derive_key, events_token
from penstock.credentials import Credentials
from penstock.providers.clock import SystemClock
from penstock.providers.memory import MemoryProvider
from penstock.storage.delivery import Deliverer, Limits, Outcome
from penstock.storage.eventlog import Counts, EventLog
from tests.unit.control.support import BASIC, PASSWORD, USER, Client, scaler_of, until
from tests.unit.storage.support import ScriptedCaller

TOKEN = events_token(derive_key(PASSWORD))


class Api(Client):
    """The REST API with events that a caller of the test's delivers."""

    def __init__(self, provider: MemoryProvider, feed: Feed, path: Path, caller: ScriptedCaller) -> None:
        self.caller = caller
        self.log = EventLog(path)
        limits = Limits(attempts=1)
        self.deliverer = Deliverer(self.log, feed.functions, caller, SystemClock(), {"photos"}, limits)
        self.events = StorageEvents(feed, self.deliverer, PASSWORD)
        table = route_table(provider, feed, scaler_of(provider, feed), asyncio.Event(), self.events)
        super().__init__(create_app(table, Credentials(USER, PASSWORD)))

    async def notify(self, body: object, authorization: str | None = BASIC) -> Any:
        self.authorization = authorization
        answer = await self.call("POST", "/system/storage/events", body)
        self.authorization = BASIC
        return answer


@pytest.fixture
async def api(provider: MemoryProvider, feed: Feed, tmp_path: Path) -> AsyncIterator[Api]:
    api = Api(provider, feed, tmp_path / "events.db", ScriptedCaller())
    running = asyncio.create_task(api.deliverer.run())
    yield api
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def record(key: str = "a.jpg", bucket: str = "photos", name: str = "ObjectCreated:Put") -> dict[str, Any]:
    stored = {"key": key, "size": 1, "eTag": "e", "sequencer": "1"}
    return {"eventName": name, "eventSource": "aws:s3", "s3": {"bucket": {"name": bucket}, "object": stored}}


def body(*records: dict[str, Any]) -> dict[str, Any]:
    return {"Records": list(records)}


async def subscribed(api: Api, **more: Any) -> None:
    await api.deploy("cat", annotations={"topic": "s3:photos"}, **more)


async def test_an_event_is_on_disk_before_the_store_is_answered_and_then_delivered(api: Api) -> None:
    await subscribed(api)
    api.caller.go.clear()
    answer = await api.notify(body(record("a+b.jpg"), record("x", "other")))
    assert answer.status == 200
    assert answer.json == {"accepted": 1, "repeated": 0, "unmatched": 1}
    assert api.log.counts == Counts(1, 0)
    api.caller.go.set()
    await until(lambda: api.log.counts == Counts(0, 0))
    [(function, headers)] = api.caller.calls
    assert (function, headers["X-Input-Object"]) == ("cat.openfaas-fn", "s3://photos/a%20b.jpg")


async def test_an_event_that_is_told_again_is_not_delivered_again(api: Api) -> None:
    await subscribed(api)
    await api.notify(body(record()))
    assert (await api.notify(body(record()))).json == {"accepted": 0, "repeated": 1, "unmatched": 0}


@pytest.mark.parametrize("sent", [{"Event": "s3:TestEvent"}, {"Records": []}, body(record(name="ObjectAccessed:Get"))])
async def test_what_concerns_no_function_is_accepted(api: Api, sent: dict[str, Any]) -> None:
    answer = await api.notify(sent)
    assert (answer.status, answer.json["accepted"]) == (200, 0)


async def test_records_that_cannot_be_used_are_counted_and_told_to_the_log_escaped(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await api.notify(body(record("a%0A%1B[2J")))
    assert answer.status == 200
    assert api.events.unusable == 1
    assert "has control characters" in caplog.text
    assert "\x1b" not in caplog.text


@pytest.mark.parametrize("sent", [b"", b"null", b"{}", b"{", b"\xff\xfe", b'{"Records": 7}', b"[" * 200_000])
async def test_what_is_no_notification_gets_a_clear_error(api: Api, sent: bytes) -> None:
    answer = await api.notify(sent)
    assert answer.status == 400
    assert "no notification of an object store" in answer.text


async def test_a_notification_has_a_bounded_size(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storageevents, "MOST_BYTES", 100)
    assert (await api.notify(b" " * 101)).status == 413


@pytest.mark.parametrize(
    "authorization",
    [
        f"Bearer {TOKEN}",
        f"bearer {TOKEN}",
        "Basic " + base64.b64encode(f"events:{TOKEN}".encode()).decode(),
    ],
)
async def test_a_store_may_notify_with_its_token_and_do_nothing_else(api: Api, authorization: str) -> None:
    assert (await api.notify(body(), authorization)).status == 200
    others = Client(api.app, authorization)
    for method, path in (
        ("GET", "/system/storage/events/token"),
        ("GET", "/system/storage/deliveries"),
        ("POST", "/system/storage/deliveries/redrive"),
        ("GET", "/system/functions"),
        ("POST", "/system/storage/events/"),
        ("POST", "//system/storage/events"),
    ):
        assert (await others.call(method, path)).status == 401, path


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer x",
        "Bearer \N{SNOWMAN}",
        f"Basic {TOKEN}",
        "Basic " + base64.b64encode(f"admin:{TOKEN}".encode()).decode(),
        "Basic " + base64.b64encode(b"events:").decode(),
        "Basic " + base64.b64encode(b"\xff\xff").decode(),
        "Basic ====",
        f"Token {TOKEN}",
    ],
)
async def test_others_may_not_notify(api: Api, authorization: str | None) -> None:
    assert (await api.notify(body(), authorization)).status == 401


async def test_the_administrator_is_shown_the_token(api: Api) -> None:
    assert (await api.get("/system/storage/events/token")).json == {"user": "events", "token": TOKEN}


async def test_a_browsers_page_of_another_site_cannot_notify(api: Api) -> None:
    headers = {"Origin": "https://evil.example", "Host": "127.0.0.1"}
    assert (await api.call("POST", "/system/storage/events", body(), headers)).status == 403


async def test_what_was_given_up_is_listed_and_can_be_made_again(api: Api) -> None:
    await subscribed(api)
    api.caller.outcomes.extend([Outcome(500, "500: \x1bbroken"), Outcome(500, "again")])
    await api.notify(body(record("a b.jpg")))
    await until(lambda: api.log.counts == Counts(0, 1) and not api.deliverer.in_flight)
    listed = (await api.get("/system/storage/deliveries")).json
    [given_up] = listed.pop("givenUp")
    assert listed == {"pending": 0, "inFlight": 0, "dead": 1}
    assert given_up["callId"] == api.caller.ids[0]
    assert (given_up["function"], given_up["object"]) == ("cat.openfaas-fn", "s3://photos/a%20b.jpg")
    assert (given_up["attempts"], given_up["reason"]) == (1, r"500: \x1bbroken")
    answer = await api.call("POST", "/system/storage/deliveries/redrive")
    assert (answer.status, answer.json) == (202, {"redriven": 1})
    await until(lambda: len(api.caller.calls) == 2)
    assert api.caller.ids[0] == api.caller.ids[1]


@pytest.mark.parametrize(("limit", "status"), [("", 200), ("0", 200), ("999999999", 200), ("-1", 400), ("x", 400)])
async def test_the_list_has_a_limit(api: Api, limit: str, status: int) -> None:
    assert (await api.get(f"/system/storage/deliveries?limit={limit}")).status == status


async def test_while_the_log_is_anothers_the_store_is_asked_to_try_again(
    provider: MemoryProvider, feed: Feed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storageevents, "WAIT", 0.01)
    api = Api(provider, feed, tmp_path / "events.db", ScriptedCaller())
    await subscribed(api)
    answer = await api.notify(body(record()))
    assert answer.status == 503
    assert "try again" in answer.text


async def test_while_functions_are_not_known_the_store_is_asked_to_try_again(
    provider: MemoryProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storageevents, "WAIT", 0.01)
    api = Api(provider, Feed(provider, Policy()), tmp_path / "events.db", ScriptedCaller())
    assert (await api.notify(body(record()))).status == 503


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/system/storage/events"),
        ("GET", "/system/storage/events/token"),
        ("GET", "/system/storage/deliveries"),
        ("POST", "/system/storage/deliveries/redrive"),
    ],
)
async def test_without_object_storage_the_answer_says_how_to_set_it_up(client: Client, method: str, path: str) -> None:
    answer = await client.call(method, path, body())
    assert answer.status == 501
    assert "PENSTOCK_S3_BUCKETS" in answer.text


async def test_where_nothing_is_guarded_there_is_no_token(provider: MemoryProvider, feed: Feed, tmp_path: Path) -> None:
    api = Api(provider, feed, tmp_path / "events.db", ScriptedCaller())
    api.events.token = storageevents.EventsToken(None)
    assert (await api.get("/system/storage/events/token")).status == 501
    assert not await api.events.token.accepts("Bearer ")


async def test_a_subscription_of_sns_is_told_to_people_and_nothing_is_opened(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    sent = {"Type": "SubscriptionConfirmation", "SubscribeURL": "https://sns.example/?Action=ConfirmSubscription"}
    assert (await api.notify(sent)).status == 200
    assert "https://sns.example/?Action=ConfirmSubscription" in caplog.text
