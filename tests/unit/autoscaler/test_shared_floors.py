"""Alerts that one gateway of several is told of: what they ask for holds at the one that leads, and at those that come after it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import pytest

from penstock.autoscaler.alerts import Alert
from penstock.autoscaler.scaler import Scaler
from penstock.autoscaler.sources import Sources
from penstock.autoscaler.state import MANUAL_HOLD
from penstock.errors import ProviderUnavailable
from penstock.model import Function, FunctionEvent
from penstock.testing.clock import FakeClock
from tests.unit.autoscaler.plant import KEY, Plant, Provider, plant

FIRING, OVER = Alert(function="f", firing=True), Alert(function="f", firing=False)


class Keeping(Provider):
    """One that keeps floors with its functions."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.floors: dict[str, int] = {}
        self.held: list[tuple[int | None, int]] = []
        self.late: dict[int, asyncio.Event] = {}
        """Numbers that are not taken before their events."""

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
        if replicas in self.late:
            await self.late[replicas].wait()
        await super().scale(name, namespace, replicas)
        if not replicas:
            self.floors.clear()

    async def hold(self, name: str, namespace: str, replicas: int | None, floor: int) -> None:
        if replicas is not None:
            await self.scale(name, namespace, replicas)
        self.floors[f"{name}.{namespace}"] = floor
        self.held.append((replicas, floor))

    async def get(self, name: str, namespace: str, usage: bool = False) -> Function:
        return self.shown(await super().get(name, namespace, usage))

    async def watch(self) -> AsyncIterator[FunctionEvent]:
        async for event in super().watch():
            yield msgspec.structs.replace(event, function=self.shown(event.function)) if event.function else event

    def shown(self, function: Function) -> Function:
        return msgspec.structs.replace(function, floor=self.floors.get(function.key, 0))


async def _never(holder: str, seconds: float) -> bool:
    return False


class Gateways:
    """One that leads and one that does not, which see the same functions."""

    def __init__(self, running: Plant) -> None:
        self.plant = running
        self.provider = running.provider = Keeping(running.clock)
        self.leader = running.scaler = running.new_scaler(Sources())
        self.other = running.new_scaler(Sources(lead=_never))

    async def seconds(self, count: int, inflight: float = 0) -> list[int]:
        """Replicas wanted after each second of this load."""
        seen = []
        for _ in range(count):
            self._show()
            await self.other.tick()
            seen += await self.plant.seconds(1, inflight=inflight)
        self._show()
        return seen

    async def tell(self, gateway: Scaler, alert: Alert) -> None:
        assert await gateway.follow([alert]) == []
        await self.plant.clock.settle()
        self._show()

    def _show(self) -> None:
        functions = self.plant.functions
        functions.update({key: self.provider.shown(function) for key, function in functions.items()})


def floor(gateway: Scaler) -> tuple[int, str]:
    report = gateway.report(KEY)
    return report.floor, report.floor_by


@contextlib.asynccontextmanager
async def gateways(**labels: str) -> AsyncIterator[Gateways]:
    running = Plant()
    both = Gateways(running)
    async with plant(running=running):
        await running.deploy(window="1s", **labels)
        await both.seconds(2)
        yield both


async def test_an_alert_that_another_gateway_was_told_of_is_a_floor_until_it_is_over() -> None:
    async with gateways() as both:
        await both.tell(both.other, FIRING)
        assert set(await both.seconds(int(3 * MANUAL_HOLD))) == {3}
        assert floor(both.leader) == floor(both.other) == (3, "alert")
        await both.tell(both.other, OVER)
        assert set(await both.seconds(5)) == {1}
        assert floor(both.leader) == floor(both.other) == (0, "")
        assert both.plant.rules() == ["alert", "floor", "minimum"]


async def test_the_end_of_an_alert_takes_no_replica_that_the_load_needs_whoever_is_told() -> None:
    async with gateways(type="capacity", target="1", proportion="1") as both:
        await both.seconds(3, inflight=4)
        await both.tell(both.other, FIRING)
        assert set(await both.seconds(10, inflight=4)) == {6}
        await both.tell(both.other, OVER)
        assert (await both.seconds(10, inflight=4))[-1] == 4
        assert min(after for _, after in both.provider.scaled[-3:]) == 4


async def test_whichever_gateway_is_told_that_it_is_over_ends_it() -> None:
    async with gateways() as both:
        await both.tell(both.leader, FIRING)
        await both.seconds(5)
        await both.tell(both.other, OVER)
        assert set(await both.seconds(5)) == {1}
        await both.tell(both.other, FIRING)
        await both.seconds(5)
        await both.tell(both.leader, OVER)
        assert set(await both.seconds(5)) == {1}
        assert floor(both.leader) == floor(both.other) == (0, "")


async def test_notifications_that_come_here_and_there_climb_together() -> None:
    async with gateways(max="6", factor="33") as both:
        seen = []
        for gateway in (both.leader, both.other, both.leader, both.other):
            await both.tell(gateway, FIRING)
            seen += await both.seconds(1)
        assert seen == [3, 5, 6, 6]
        assert both.provider.held == [(3, 3), (5, 5), (6, 6)]


async def test_a_floor_outlives_every_gateway() -> None:
    async with gateways() as both:
        await both.tell(both.other, FIRING)
        await both.seconds(2)
        both.leader = both.plant.scaler = both.plant.new_scaler(Sources())
        assert set(await both.seconds(60)) == {3}
        assert floor(both.leader) == (3, "alert")


async def test_an_alert_at_the_most_is_a_floor_for_others_too() -> None:
    async with gateways(max="3", type="capacity", target="1", proportion="1") as both:
        assert (await both.seconds(3, inflight=3))[-1] == 3
        await both.tell(both.other, FIRING)
        assert both.other.alerts == {"unchanged": 1}
        assert set(await both.seconds(60)) == {3}
        assert floor(both.leader) == (3, "alert")


async def test_load_goes_above_a_floor_and_comes_back_to_it() -> None:
    async with gateways(type="capacity", target="1", proportion="1") as both:
        await both.tell(both.other, FIRING)
        assert (await both.seconds(5, inflight=5))[-1] == 5
        assert (await both.seconds(10))[-1] == 3


async def test_what_a_decision_of_the_same_moment_undoes_is_wanted_again() -> None:
    async with gateways(type="capacity", target="1", proportion="1") as both:
        assert (await both.seconds(3, inflight=2))[-1] == 2
        taken = both.provider.late[1] = asyncio.Event()
        await both.seconds(5)
        await both.tell(both.other, FIRING)
        assert both.plant.desired() == 4
        taken.set()
        await both.plant.clock.settle()
        assert both.plant.desired() == 1
        assert (await both.seconds(2))[-1] == 4


async def test_a_number_that_a_person_sets_at_another_gateway_ends_the_floor_of_an_alert() -> None:
    async with gateways() as both:
        await both.tell(both.leader, FIRING)
        await both.seconds(2)
        await both.other.set_by_hand(KEY, 2)
        await both.plant.clock.settle()
        assert set(await both.seconds(int(MANUAL_HOLD) - 1)) == {2}
        assert floor(both.leader) == (2, "hand")
        assert (await both.seconds(5))[-1] == 1


async def test_rest_ends_the_floor_of_an_alert_for_all() -> None:
    async with gateways(zero="true", zero_after="30s") as both:
        await both.tell(both.other, FIRING)
        assert (await both.seconds(40))[-1] == 0
        await both.plant.wake()
        assert set(await both.seconds(5)) == {1}
        assert floor(both.leader) == floor(both.other) == (0, "")


@pytest.mark.parametrize("alert", [FIRING, OVER])
async def test_a_floor_that_cannot_be_kept_is_an_error_of_the_notification(
    alert: Alert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that it comes again."""

    async def refuse(*wanted: object) -> None:
        raise ProviderUnavailable("no manager")

    async with gateways(max="3") as both:
        await both.tell(both.other, FIRING)
        both.provider.floors[KEY] = 2  # as long as this alert is not followed
        await both.seconds(1)
        monkeypatch.setattr(Keeping, "hold", refuse)
        [error] = await both.other.follow([alert])
        assert str(error) == "no manager"
        assert both.other.alerts["failed"] == 1
