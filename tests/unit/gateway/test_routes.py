"""The worker's picture of the functions, by itself."""

from __future__ import annotations

import pytest

from penstock.core.pipelinetarget import StageTarget
from penstock.core.policy import Policy
from penstock.gateway.counters import WorkerCounters
from penstock.gateway.messages import Route
from penstock.gateway.routes import FunctionRoute, RouteTable
from penstock.wire.client import Pool
from tests.unit.gateway.support import DEADLINE, route


class Waiting:
    """Counts how often it was let go."""

    def __init__(self, function: FunctionRoute) -> None:
        self.alive = True
        self.gone = 0
        self.was_removed = False
        self.told: list[bool] = []
        self._function = function

    def needs(self, function: FunctionRoute) -> int:
        return 1

    def go(self) -> None:
        self.gone += 1
        self._function.inflight += 1

    def awaits(self, replica: bool) -> None:
        self.told.append(replica)

    def removed(self) -> None:
        self.was_removed = True

    def failed(self) -> None:
        self.was_removed = True


@pytest.fixture
async def table() -> RouteTable:
    return RouteTable(Pool, WorkerCounters(), "openfaas-fn")


def found(table: RouteTable, name: bytes) -> FunctionRoute:
    function = table.find(name)
    assert function is not None
    return function


async def test_a_replica_that_stays_keeps_its_connections_and_its_rest(table: RouteTable) -> None:
    table.apply(route("x.openfaas-fn", "unix:/a", "unix:/b"))
    stays = found(table, b"x").replicas[1]
    stays.failed(0.0)
    table.apply(route("x.openfaas-fn", "unix:/c", "unix:/b"))
    replicas = found(table, b"x").replicas
    assert [replica.address for replica in replicas] == ["unix:/c", "unix:/b"]
    assert replicas[1] is stays
    assert replicas[1].failures == 1


async def test_a_request_goes_to_no_replica_again_while_there_is_another(table: RouteTable) -> None:
    table.apply(route("x.openfaas-fn", "unix:/a", "unix:/b", "unix:/c"))
    function = found(table, b"x")
    one, other, last = function.replicas
    last.failed(0.0)
    assert {function.pick(0.0, (one, other)) for _ in range(50)} == {last}
    assert function.pick(0.0, (one, other, last)) in (one, other)


async def test_a_replica_that_leaves_has_its_pool_closed(table: RouteTable) -> None:
    table.apply(route("x.openfaas-fn", "unix:/a"))
    leaves = found(table, b"x").replicas[0]
    table.apply(route("x.openfaas-fn", "unix:/b"))
    assert "closed" in repr(leaves.pool)


async def test_a_changed_policy_is_taken_over(table: RouteTable) -> None:
    table.apply(route("x.openfaas-fn", "unix:/a", "unix:/b", max_inflight=3))
    assert found(table, b"x").capacity == 6
    table.apply(route("x.openfaas-fn", "unix:/a", "unix:/b"))
    assert found(table, b"x").capacity == 0
    assert found(table, b"x").policy == Policy(timeout=DEADLINE, queue_timeout=DEADLINE)


async def test_more_room_lets_as_many_go_as_fit(table: RouteTable) -> None:
    table.apply(route("x.openfaas-fn", max_inflight=2))
    function = found(table, b"x")
    waiting = [Waiting(function) for _ in range(5)]
    waiting[0].alive = False
    function.waiting.extend(waiting)
    table.apply(route("x.openfaas-fn", "unix:/a", max_inflight=2))
    assert [waiter.gone for waiter in waiting] == [0, 1, 1, 0, 0]
    assert len(function.waiting) == 2


async def test_losing_the_last_replica_while_requests_wait_asks_for_a_wake(table: RouteTable) -> None:
    assert not table.apply(route("x.openfaas-fn", "unix:/a", max_inflight=1))
    assert not table.apply(route("x.openfaas-fn", max_inflight=1))
    table.apply(route("x.openfaas-fn", "unix:/a", max_inflight=1))
    function = found(table, b"x")
    function.inflight = 1
    function.waiting.append(Waiting(function))
    assert table.apply(route("x.openfaas-fn", max_inflight=1))
    assert not table.apply(route("x.openfaas-fn", max_inflight=2))


async def test_a_removed_function_tells_those_who_wait(table: RouteTable) -> None:
    table.apply(route("x.openfaas-fn"))
    function = found(table, b"x")
    waiter = Waiting(function)
    function.waiting.append(waiter)
    table.remove("x.openfaas-fn")
    assert waiter.was_removed
    assert table.find(b"x") is None
    assert table.find(b"x.openfaas-fn") is None
    assert len(table) == 0


async def test_a_function_is_readable_as_what_it_is(table: RouteTable) -> None:
    table.apply(route("x.openfaas-fn", "unix:/a"))
    function = found(table, b"x")
    assert repr(function) == "<FunctionRoute x.openfaas-fn 1 replicas, 0 in flight, 0 waiting>"
    assert repr(function.replicas[0]) == "<Replica unix:/a 0 in flight, 0 failures>"


async def test_those_who_wait_are_told_when_it_is_a_replica_that_they_wait_for_and_when_a_slot(
    table: RouteTable,
) -> None:
    table.apply(route("x.openfaas-fn", max_inflight=1))
    function = found(table, b"x")
    waiters = [Waiting(function), Waiting(function)]
    function.waiting.extend(waiters)
    table.apply(route("x.openfaas-fn", "unix:/a", max_inflight=1))
    table.apply(route("x.openfaas-fn", "unix:/b", max_inflight=1))
    table.apply(route("x.openfaas-fn", max_inflight=1))
    assert [waiter.told for waiter in waiters] == [[False], [False, True]]


async def test_the_version_is_another_one_after_each_change_and_the_same_without(table: RouteTable) -> None:
    versions = [table.version]
    for change in (
        lambda: table.apply(route("x.openfaas-fn", "unix:/a")),
        lambda: table.apply(route("x.openfaas-fn", "unix:/b")),
        lambda: table.remove("x.openfaas-fn"),
    ):
        change()
        versions.append(table.version)
    assert len(set(versions)) == 4
    table.remove("x.openfaas-fn")
    table.find(b"x")
    assert table.version == versions[-1]


async def test_the_stages_of_a_pipeline_are_read_once_and_follow_its_route(table: RouteTable) -> None:
    table.apply(Route(key="p.openfaas-fn", stages=("sort.openfaas-fn/a?b=c", "wc.dev")))
    pipeline = found(table, b"p")
    assert pipeline.stages == (StageTarget(b"sort.openfaas-fn", b"/a?b=c"), StageTarget(b"wc.dev", b"/"))
    table.apply(Route(key="p.openfaas-fn"))
    assert not found(table, b"p").stages
