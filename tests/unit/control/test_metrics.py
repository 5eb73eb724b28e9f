"""Names, types, labels, help texts and buckets of the gateway's metrics: rules and dashboards depend on each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock.control.metrics import CHUNK, MAX_GONE, Totals, exposition
from penstock.gateway.messages import LATENCY_BUCKETS, Completed, Counters
from penstock.model import Function, FunctionSpec, Replica

KEY = "cat.openfaas-fn"


class FixedSource:
    """What the feed knows, written down."""

    def __init__(self) -> None:
        self.totals = Totals()
        self.functions: Mapping[str, Function] = {}

    def inflight(self) -> dict[str, int]:
        return {KEY: 2}

    def connections(self) -> dict[int, int]:
        return {0: 7, 1: 5}


def completed(key: str = KEY, code: int = 200, slow: int = 0, seconds: float = 0.5) -> Completed:
    buckets = [2, 1, *[0] * 9, slow]
    return Completed(key=key, code=code, count=3 + slow, seconds=seconds, buckets=buckets)


def a_source() -> FixedSource:
    source = FixedSource()
    source.totals.add(Counters(started={KEY: 5}, completed=[completed(slow=1), completed(code=500)]))
    replica = Replica(id="r", state="ready", address="unix:/r")
    spec = FunctionSpec(name="cat")
    born = datetime(2026, 1, 1, tzinfo=UTC)
    source.functions = {KEY: Function(spec=spec, desired=3, replicas=(replica,), created_at=born)}
    return source


async def test_the_exposition_word_for_word() -> None:
    text = (await exposition(a_source())).decode()
    ours, _, _ = text.partition("# HELP process_virtual_memory_bytes")
    assert ours == (
        "# HELP gateway_functions_seconds Function time taken\n"
        "# TYPE gateway_functions_seconds histogram\n"
        + "".join(histogram_lines(200, 1))
        + "".join(histogram_lines(500, 0))
        + "# HELP gateway_function_invocation_total Function metrics\n"
        "# TYPE gateway_function_invocation_total counter\n"
        'gateway_function_invocation_total{code="200",function_name="cat.openfaas-fn"} 4\n'
        'gateway_function_invocation_total{code="500",function_name="cat.openfaas-fn"} 3\n'
        "# HELP gateway_function_invocation_started The total number of function HTTP requests started.\n"
        "# TYPE gateway_function_invocation_started counter\n"
        'gateway_function_invocation_started{function_name="cat.openfaas-fn"} 5\n'
        "# HELP gateway_function_invocation_inflight Function HTTP requests in progress.\n"
        "# TYPE gateway_function_invocation_inflight gauge\n"
        'gateway_function_invocation_inflight{function_name="cat.openfaas-fn"} 2\n'
        "# HELP gateway_service_count Current count of replicas for function\n"
        "# TYPE gateway_service_count gauge\n"
        'gateway_service_count{function_name="cat.openfaas-fn"} 3\n'
        "# HELP gateway_service_ready_count Replicas of the function that answer.\n"
        "# TYPE gateway_service_ready_count gauge\n"
        'gateway_service_ready_count{function_name="cat.openfaas-fn"} 1\n'
        "# HELP penstock_gateway_connections Open client connections of a gateway worker.\n"
        "# TYPE penstock_gateway_connections gauge\n"
        'penstock_gateway_connections{worker="0"} 7\n'
        'penstock_gateway_connections{worker="1"} 5\n'
    )


def histogram_lines(code: int, slow: int) -> list[str]:
    labels = f'code="{code}",function_name="cat.openfaas-fn"'
    bounds = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5", "10", "+Inf"]
    counts = [2, *[3] * 10, 3 + slow]
    lines = [
        f'gateway_functions_seconds_bucket{{{labels},le="{b}"}} {c}\n' for b, c in zip(bounds, counts, strict=True)
    ]
    lines.append(f"gateway_functions_seconds_sum{{{labels}}} 0.5\n")
    lines.append(f"gateway_functions_seconds_count{{{labels}}} {3 + slow}\n")
    return lines


async def test_a_function_without_a_request_in_flight_has_none_instead_of_no_series() -> None:
    source = a_source()
    spec = FunctionSpec(name="idle")
    source.functions = {
        **source.functions,
        spec.key: Function(spec=spec, desired=0, created_at=datetime(2026, 1, 1, tzinfo=UTC)),
    }
    lines = (await exposition(source)).decode().splitlines()
    assert [line for line in lines if line.startswith("gateway_function_invocation_inflight{")] == [
        'gateway_function_invocation_inflight{function_name="cat.openfaas-fn"} 2',
        'gateway_function_invocation_inflight{function_name="idle.openfaas-fn"} 0',
    ]


async def test_a_parser_of_prometheus_reads_it_all() -> None:
    families = {f.name: f for f in text_string_to_metric_families((await exposition(a_source())).decode())}
    assert families["gateway_functions_seconds"].type == "histogram"
    assert families["gateway_service_count"].type == "gauge"
    started = families["gateway_function_invocation_started"]
    assert (started.type, [sample.value for sample in started.samples]) == ("counter", [5.0])


@pytest.mark.parametrize("name", ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"])
async def test_the_process_describes_itself(name: str) -> None:
    assert f"\n{name} " in (await exposition(FixedSource())).decode()


async def test_the_process_metrics_can_be_rendered_again() -> None:
    assert await exposition(FixedSource())
    assert await exposition(FixedSource())


async def test_names_are_escaped() -> None:
    source = FixedSource()
    source.totals.add(Counters(started={'a"b\\c\nd': 1}))
    assert r'{function_name="a\"b\\c\nd"} 1' in (await exposition(source)).decode()


async def test_what_is_kept_of_a_scrape_is_no_longer_true_once_there_is_more() -> None:
    source = a_source()
    first = await exposition(source)
    assert b'gateway_functions_seconds_count{code="200",function_name="cat.openfaas-fn"} 4\n' in first
    source.totals.add(Counters(completed=[completed()]))
    second = await exposition(source)
    assert b'gateway_functions_seconds_count{code="200",function_name="cat.openfaas-fn"} 7\n' in second
    assert b'gateway_functions_seconds_count{code="500",function_name="cat.openfaas-fn"} 3\n' in second


async def test_a_thousand_functions_are_rendered_in_chunks_that_let_others_run() -> None:
    source = FixedSource()
    source.totals.add(Counters(completed=[completed(f"f{n}.openfaas-fn") for n in range(1000)]))
    turns = 0
    done = asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    text = await exposition(source)
    done.set()
    await task
    assert text.count(b"gateway_functions_seconds_count{") == 1000
    assert turns >= 2000 // CHUNK


async def test_counters_that_arrive_between_two_chunks_do_not_break_a_scrape() -> None:
    source = FixedSource()
    source.totals.add(Counters(completed=[completed(f"f{n}") for n in range(200)]))

    async def add() -> None:
        for n in range(20):
            source.totals.add(Counters(started={f"n{n}": 1}, completed=[completed(f"n{n}"), completed("f0", n)]))
            await asyncio.sleep(0)

    text, _ = await asyncio.gather(exposition(source), add())
    assert text.count(b"gateway_functions_seconds_count{") >= 200


def test_differences_of_several_workers_add_up() -> None:
    totals = Totals()
    totals.add(Counters(started={KEY: 1}, busy={KEY: 0.25, "other": 1.0}, completed=[completed(seconds=0.25)]))
    totals.add(Counters(started={KEY: 2}, busy={KEY: 0.5}, completed=[completed(seconds=0.5), completed(code=500)]))
    assert totals.started[KEY] == 3
    assert totals.busy == {KEY: 0.75, "other": 1.0}
    assert totals.completed[KEY][200].count == 6
    assert totals.completed[KEY][200].seconds == 0.75
    assert totals.completed[KEY][200].buckets == [4, 2, *[0] * 10]
    assert totals.invocations(KEY) == 9


def test_a_function_never_called_has_no_invocations() -> None:
    assert Totals().invocations("nothing") == 0


def test_a_function_that_was_removed_is_still_counted() -> None:
    totals = Totals()
    totals.add(Counters(started={KEY: 1}, completed=[completed()]))
    totals.forget_gone([])
    assert totals.invocations(KEY) == 3


def test_counts_do_not_grow_with_every_function_that_ever_was() -> None:
    totals = Totals()
    for number in range(MAX_GONE + 2):
        key = f"f{number}"
        totals.add(Counters(started={key: 1}, busy={key: 1.0}, completed=[completed(key)]))
    totals.forget_gone({"f7"})
    assert list(totals.started) == ["f7"]
    assert list(totals.busy) == ["f7"]
    assert list(totals.completed) == ["f7"]


@pytest.mark.parametrize(
    "counters",
    [
        Counters(started={KEY: -1}),
        Counters(busy={KEY: -0.1}),
        Counters(busy={KEY: float("nan")}),
        Counters(started={KEY: 1}, busy={KEY: float("inf")}),
        Counters(completed=[Completed(key=KEY, code=200, count=1, seconds=0.1, buckets=[1])]),
        Counters(completed=[Completed(key=KEY, code=200, count=-1, seconds=0.1, buckets=[0] * 12)]),
        Counters(completed=[Completed(key=KEY, code=200, count=1, seconds=-0.1, buckets=[0] * 12)]),
        Counters(completed=[Completed(key=KEY, code=200, count=1, seconds=float("nan"), buckets=[0] * 12)]),
        Counters(completed=[Completed(key=KEY, code=200, count=1, seconds=0.1, buckets=[-1, *[0] * 11])]),
        Counters(started={KEY: 1}, completed=[completed(), Completed(key=KEY, code=1, count=1, seconds=0, buckets=[])]),
    ],
)
def test_impossible_counters_are_refused_as_a_whole(counters: Counters) -> None:
    totals = Totals()
    with pytest.raises(ValueError, match=r"count|time in flight"):
        totals.add(counters)
    assert (totals.started, totals.busy, totals.completed) == ({}, {}, {})


def test_buckets_are_those_of_the_go_client() -> None:
    assert LATENCY_BUCKETS == (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


async def test_a_pipeline_has_counts_of_calls_and_none_of_replicas() -> None:
    source = a_source()
    spec = FunctionSpec(name="cat", stages=("sort",))
    source.functions = {KEY: Function(spec=spec, desired=0, created_at=datetime(2026, 1, 1, tzinfo=UTC))}
    text = (await exposition(source)).decode()
    assert f'gateway_function_invocation_total{{code="200",function_name="{KEY}"}} 4' in text
    assert f'gateway_function_invocation_inflight{{function_name="{KEY}"}} 2' in text
    assert "gateway_service_count{" not in text
    assert "gateway_service_ready_count{" not in text
