"""What a worker counts: started, completed by code, in flight; differences that add up."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.gateway.counters import WorkerCounters
from penstock.gateway.messages import LATENCY_BUCKETS, Counters, Flush
from tests.unit.gateway.support import Gateway, Recorder, eventually


async def flush(gateway: Gateway, number: int = 1) -> Counters:
    """All that the worker has reported, added up; in-flight as of now."""
    session = gateway.control.sessions[-1]
    session.send(Flush(id=number))
    await eventually(lambda: [c for c in session.all(Counters) if c.flush == number], "the answer to the flush")
    started: Counter[str] = Counter()
    busy: dict[str, float] = {}
    completed = []
    for report in session.all(Counters):
        started.update(report.started)
        for key, seconds in report.busy.items():
            busy[key] = busy.get(key, 0.0) + seconds
        completed += report.completed
    last = session.all(Counters)[-1]
    return Counters(
        started=dict(started), busy=busy, completed=completed, inflight=last.inflight, connections=last.connections
    )


def codes(report: Counters) -> dict[tuple[str, int], int]:
    sums: Counter[tuple[str, int]] = Counter()
    for completed in report.completed:
        sums[completed.key, completed.code] += completed.count
    return dict(sums)


# In the worker.


async def test_answers_are_counted_by_function_and_code(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    await gateway.deploy("bad.blue", await gateway.replica(Recorder(status=500)))
    for target in ("x", "x.openfaas-fn", "bad.blue"):
        await gateway.call(f"/function/{target}")
    report = await flush(gateway)
    assert report.started == {"x.openfaas-fn": 2, "bad.blue": 1}
    assert codes(report) == {("x.openfaas-fn", 200): 2, ("bad.blue", 500): 1}
    assert report.inflight == {}


async def test_requests_to_no_function_are_not_counted(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", await gateway.replica(Recorder()))
    await gateway.call("/function/missing")
    await gateway.call("/function/..")
    await gateway.call("/healthz")
    report = await flush(gateway)
    assert (report.started, report.completed) == ({}, [])


async def test_refusals_are_counted_with_the_code_they_were_answered(gateway: Gateway) -> None:
    held = Recorder()
    held.hold = True
    await gateway.deploy("late.openfaas-fn", await gateway.replica(held), timeout=0.2)
    await gateway.deploy("sleeps.openfaas-fn", queue_timeout=0.2)
    await gateway.deploy("gone.openfaas-fn", "unix:/nonexistent/r", queue_timeout=0.2)
    await asyncio.gather(*[gateway.call(f"/function/{name}") for name in ("late", "sleeps", "gone")])
    expected = {("late.openfaas-fn", 504): 1, ("sleeps.openfaas-fn", 503): 1, ("gone.openfaas-fn", 502): 1}
    assert codes(await flush(gateway)) == expected


async def test_a_retried_request_is_one_request(gateway: Gateway) -> None:
    await gateway.deploy("x.openfaas-fn", "unix:/nonexistent/r", await gateway.replica(Recorder()))
    for _ in range(6):
        await gateway.call("/function/x")
    report = await flush(gateway)
    assert report.started == {"x.openfaas-fn": 6}
    assert codes(report) == {("x.openfaas-fn", 200): 6}


async def test_requests_in_flight_and_waiting_are_told_and_then_no_longer(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), max_inflight=1)
    calls = [asyncio.create_task(gateway.call("/function/x")) for _ in range(2)]
    await function.until_held(1)
    await gateway.waiting("x", 1)
    report = await flush(gateway, 1)
    assert report.inflight == {"x.openfaas-fn": 2}
    assert report.busy["x.openfaas-fn"] > 0
    assert report.connections == 2
    function.hold = False
    function.release()
    await asyncio.gather(*calls)
    report = await flush(gateway, 2)
    assert report.inflight == {}
    assert codes(report) == {("x.openfaas-fn", 200): 2}
    assert report.busy["x.openfaas-fn"] == pytest.approx(sum(completed.seconds for completed in report.completed))


async def test_requests_in_flight_are_reported_again_and_again_unasked(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    call = asyncio.create_task(gateway.call("/function/x"))
    await function.until_held(1)
    session = gateway.control.sessions[-1]
    await eventually(lambda: len([c for c in session.all(Counters) if c.busy]) >= 2, "two reports of time in flight")
    function.release()
    assert (await call).status == 200


async def test_a_client_that_leaves_is_counted_499_while_it_waits_and_in_flight(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function), max_inflight=1)
    clients = [await gateway.client(), await gateway.client()]
    for number, client in enumerate(clients):
        client.send("GET", "/function/x")
        await (gateway.waiting("x", 1) if number else function.until_held(1))
    clients[1].close()
    await gateway.waiting("x", 0)
    clients[0].close()
    await gateway.inflight("x", 0)
    report = await flush(gateway)
    assert codes(report) == {("x.openfaas-fn", 499): 2}
    assert report.inflight == {}


async def test_a_function_that_was_removed_is_reported_to_its_end(gateway: Gateway) -> None:
    function = Recorder()
    function.hold = True
    await gateway.deploy("x.openfaas-fn", await gateway.replica(function))
    call = asyncio.create_task(gateway.call("/function/x"))
    await function.until_held(1)
    await gateway.remove("x.openfaas-fn")
    assert (await flush(gateway, 1)).inflight == {"x.openfaas-fn": 1}
    function.release()
    await call
    report = await flush(gateway, 2)
    assert codes(report) == {("x.openfaas-fn", 200): 1}
    assert report.inflight == {}


# By itself.


def test_reports_are_differences_that_add_up() -> None:
    counters = WorkerCounters()
    function = counters.of("x.ns")
    function.begin(100.0)
    function.begin(100.5)
    function.end(200, 1.0, 101.0)
    first = counters.report(1, 5, 102.0)
    function.end(200, 2.5, 103.0)
    second = counters.report(2, 4, 104.0)
    third = counters.report(3, 4, 105.0)
    assert [report.started for report in (first, second, third)] == [{"x.ns": 2}, {}, {}]
    assert [report.busy for report in (first, second, third)] == [{"x.ns": 2.5}, {"x.ns": 1.0}, {}]
    assert [sum(c.count for c in report.completed) for report in (first, second, third)] == [1, 1, 0]
    assert [report.inflight for report in (first, second, third)] == [{"x.ns": 1}, {}, {}]
    assert [report.flush for report in (first, second, third)] == [1, 2, 3]
    assert first.connections == 5


@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=1, max_size=8),
    st.lists(st.floats(0, 250), max_size=4),
)
def test_time_in_flight_is_that_of_all_requests_whatever_is_reported_between(
    requests: list[tuple[float, float]], reports: list[float]
) -> None:
    """`requests`: when each begins and how long it takes."""
    counters = WorkerCounters()
    function = counters.of("x.ns")
    events = [(begin, 1, 0.0) for begin, _ in requests]
    events += [(begin + seconds, 2, seconds) for begin, seconds in requests]
    events += [(moment, 3, 0.0) for moment in reports]
    busy = []
    for now, kind, seconds in sorted(events):
        if kind == 1:
            function.begin(now)
        elif kind == 2:
            function.end(200, seconds, now)
        else:
            busy.append(counters.report(0, 0, now).busy.get("x.ns", 0.0))
    busy.append(counters.report(0, 0, 300.0).busy.get("x.ns", 0.0))
    assert min(busy) >= 0
    assert sum(busy) == pytest.approx(sum(seconds for _, seconds in requests), abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "bucket"), [(0.0, 0), (0.005, 0), (0.0051, 1), (0.01, 1), (10.0, 10), (10.1, 11), (1e9, 11)]
)
def test_a_duration_counts_in_the_first_bucket_whose_bound_it_does_not_exceed(seconds: float, bucket: int) -> None:
    counters = WorkerCounters()
    function = counters.of("x.ns")
    function.begin(1.0)
    function.end(200, seconds, 1.0)
    [completed] = counters.report(0, 0, 1.0).completed
    assert len(completed.buckets) == len(LATENCY_BUCKETS) + 1
    assert [index for index, count in enumerate(completed.buckets) if count] == [bucket]
    assert completed.seconds == seconds


def test_nothing_new_is_nothing_to_report_unless_something_is_in_flight() -> None:
    counters = WorkerCounters()
    function = counters.of("x.ns")
    dirty = [counters.dirty]
    function.begin(1.0)
    dirty.append(counters.dirty)
    counters.report(0, 0, 2.0)
    dirty.append(counters.dirty)
    function.end(200, 0.0, 3.0)
    dirty.append(counters.dirty)
    counters.report(0, 0, 4.0)
    dirty.append(counters.dirty)
    assert dirty == [False, True, True, True, False]


def test_a_removed_function_is_forgotten_once_it_is_reported_and_idle() -> None:
    counters = WorkerCounters()
    function = counters.of("x.ns")
    function.begin(1.0)
    counters.forget("x.ns")
    counters.report(0, 0, 2.0)
    assert counters.of("x.ns") is function
    counters.forget("x.ns")
    function.end(200, 0.0, 3.0)
    assert codes(counters.report(0, 0, 4.0)) == {("x.ns", 200): 1}
    assert counters.of("x.ns") is not function


def test_a_removed_function_of_which_all_is_reported_is_forgotten_at_once() -> None:
    counters = WorkerCounters()
    function = counters.of("x.ns")
    counters.forget("x.ns")
    assert counters.of("x.ns") is not function


def test_forgetting_an_unknown_function_is_nothing() -> None:
    WorkerCounters().forget("never.seen")
