"""Requests of the REST API as they are counted: by route, method and status, whatever strangers ask for."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.types import Receive, Scope, Send

from penstock.control.app import create_app, route_table
from penstock.control.feed import Feed
from penstock.control.requestmetrics import RequestMetrics, collapsed
from penstock.credentials import Credentials
from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import PASSWORD, USER, Client, scaler_of


@pytest.fixture
def metrics(provider: MemoryProvider, feed: Feed) -> RequestMetrics:
    return RequestMetrics(route_table(provider, feed, scaler_of(provider, feed), asyncio.Event()))


@pytest.fixture
def counted(provider: MemoryProvider, feed: Feed, metrics: RequestMetrics) -> Client:
    app = create_app(
        route_table(provider, feed, scaler_of(provider, feed), asyncio.Event()), Credentials(USER, PASSWORD)
    )
    return Client(metrics.around(app))


def totals(metrics: RequestMetrics) -> dict[tuple[str, str, str], float]:
    families = text_string_to_metric_families("\n".join([*metrics.lines(), ""]))
    samples = [sample for family in families for sample in family.samples if sample.name == "http_requests_total"]
    return {(one.labels["method"], one.labels["path"], one.labels["status"]): one.value for one in samples}


async def test_requests_are_counted_by_method_route_and_status(counted: Client, metrics: RequestMetrics) -> None:
    await counted.get("/system/functions")
    await counted.get("/system/functions?namespace=openfaas-fn")
    await counted.get("/system/function/one")
    await counted.get("/system/function/two?usage=1")
    await counted.call("POST", "/system/scale-function/x", {"replicas": 1})
    assert totals(metrics) == {
        ("GET", "/system/functions", "200"): 2,
        ("GET", "/system/function", "404"): 2,
        ("POST", "/system/scale-function", "404"): 1,
    }


async def test_strangers_make_no_series_of_their_own(counted: Client, metrics: RequestMetrics) -> None:
    for number in range(20):
        await counted.get(f"/system/nowhere-{number}/{number}")
        await counted.call(f"VERB{number}", "/system/functions")
        await counted.get(f"/elsewhere/{number}")
    assert totals(metrics) == {("GET", "other", "404"): 20, ("other", "/system/functions", "405"): 20}


async def test_requests_that_the_guard_refuses_are_counted(counted: Client, metrics: RequestMetrics) -> None:
    counted.authorization = None
    await counted.get("/system/function/secret")
    assert totals(metrics) == {("GET", "/system/function", "401"): 1}


@pytest.mark.parametrize("path", ["/healthz", "/", "/ui/", "/system"])
async def test_only_what_is_below_system_is_counted(path: str, counted: Client, metrics: RequestMetrics) -> None:
    await counted.get(path)
    assert totals(metrics) == {}


async def test_a_request_without_an_answer_is_a_500() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("a defect")

    metrics = RequestMetrics([])
    with contextlib.suppress(RuntimeError):
        await Client(metrics.around(broken)).get("/system/info")
    assert totals(metrics) == {("other", "other", "500"): 1}


async def test_durations_are_in_the_buckets_of_the_go_client(provider: MemoryProvider, feed: Feed) -> None:
    times = iter([0.0, 0.25, 1.0, 21.0])
    table = route_table(provider, feed, scaler_of(provider, feed), asyncio.Event())
    metrics = RequestMetrics(table, lambda: next(times))
    client = Client(metrics.around(create_app(table, Credentials(USER, PASSWORD))))
    await client.get("/system/info")
    await client.get("/system/info")
    labels = 'method="GET",path="/system/info",status="200"'
    lines = "\n".join(metrics.lines()).splitlines()
    assert f'http_request_duration_seconds_bucket{{{labels},le="0.1"}} 0' in lines
    assert f'http_request_duration_seconds_bucket{{{labels},le="0.25"}} 1' in lines
    assert f'http_request_duration_seconds_bucket{{{labels},le="10"}} 1' in lines
    assert f'http_request_duration_seconds_bucket{{{labels},le="+Inf"}} 2' in lines
    assert f"http_request_duration_seconds_sum{{{labels}}} 20.25" in lines


def test_parameters_are_no_part_of_a_path() -> None:
    assert collapsed("/system/namespace/{name}") == collapsed("/system/namespace/") == "/system/namespace"
    assert collapsed("/system/function/{name}/scaling") == "/system/function/scaling"
