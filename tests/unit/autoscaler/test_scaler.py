"""The scaler over a provider in memory, a second at a time."""

from __future__ import annotations

import asyncio
import contextlib
import math

import pytest

from penstock.autoscaler.alerts import Alert
from penstock.autoscaler.changes import PATIENCE
from penstock.autoscaler.loads import Loads
from penstock.autoscaler.sources import Sources
from penstock.autoscaler.state import MANUAL_HOLD
from penstock.errors import FunctionNotFound, InvalidInput, ProviderUnavailable
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec
from penstock.providers.memory import Script
from tests.unit.autoscaler.plant import KEY, plant

CAPACITY = {"type": "capacity", "target": "2", "proportion": "1"}
OTHER = "other.openfaas-fn"


class Cpu:
    """Processor time as a test says."""

    def __init__(self, value: float | None = None) -> None:
        self.value = value

    def cpu(self, key: str) -> float | None:
        return self.value

    def why(self, key: str) -> str:
        return "" if self.value is not None else "CPU has not been measured yet"


async def test_the_default_is_requests_a_second_up_to_twenty_replicas() -> None:
    async with plant() as p:
        await p.deploy()
        assert await p.second(rps=40) == 1
        assert (await p.seconds(3, rps=100))[-1] == 3
        assert max(await p.seconds(10, rps=5000)) == 20


async def test_a_burst_is_followed_at_the_second_tick_at_the_latest() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.seconds(5, rps=1, inflight=0.1)
        assert (await p.seconds(2, rps=200, inflight=10))[-1] == 5


async def test_a_constant_load_changes_nothing_after_the_first_ticks() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.seconds(3, inflight=7)
        assert set(await p.seconds(60, inflight=7)) == {4}
        assert p.rules() == ["load"]


async def test_fewer_come_after_the_window_and_the_journal_says_so_once() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY, window="10s")
        await p.seconds(3, inflight=8)
        seen = await p.seconds(20, inflight=1)
        assert seen[:9] == [4] * 9
        assert seen[-1] == 1
        said = [(one.rule, one.before, one.after) for one in p.decisions()]
        assert said[:2] == [("load", 1, 4), ("window", 4, 4)]
        assert said[-1] == ("load", 2, 1)
        assert len(said) == len(set(said))


async def test_the_maximum_is_said_once_when_it_is_reached() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY, max="3")
        assert set((await p.seconds(10, inflight=50))[1:]) == {3}
        assert p.rules() == ["maximum"]
        decision = p.decisions()[0]
        assert (decision.before, decision.after) == (1, 3)
        assert decision.reason == "50 requests in flight at 2 a replica ask for 25, the most is 3"
        assert decision.inputs["load"] == 50
        assert decision.inputs["asked"] == 25


async def test_a_step_is_limited_and_the_next_goes_on() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        assert await p.seconds(3, inflight=40) == [5, 10, 20]
        assert p.rules() == ["limit", "limit", "load"]


async def test_bounds_that_are_equal_leave_load_no_choice() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY, min="2", max="2")
        assert set(await p.seconds(5, inflight=50)) == {2}
        assert p.rules() == []


async def test_idle_functions_are_not_looked_at() -> None:
    async with plant() as p:
        await p.deploy()
        await p.seconds(10)
        assert p.provider.scaled == []
        assert p.rules() == []


async def test_a_worker_that_is_late_for_a_tick_is_no_burst_at_the_next() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.seconds(5, inflight=6)
        p.counts.late = True
        await p.second()
        p.counts.late = False
        assert await p.second(inflight=12) == 3


async def test_a_worker_that_never_answers_does_not_keep_load_from_being_followed() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.second()
        p.counts.late = True
        assert (await p.seconds(6, inflight=6))[-1] == 3


# Loads that others measure


async def test_processor_time_is_followed() -> None:
    cpu = Cpu(1000.0)
    async with plant(Loads(cpu=cpu)) as p:
        await p.deploy(type="cpu", target="500", proportion="1")
        assert (await p.seconds(2))[-1] == 2


async def test_an_unknown_load_holds_what_there_is_and_is_said_once() -> None:
    cpu = Cpu(2000.0)
    async with plant(Loads(cpu=cpu)) as p:
        await p.deploy(type="cpu", target="500", proportion="1", window="0s")
        await p.seconds(2)
        cpu.value = None
        assert set(await p.seconds(60)) == {4}
        assert p.rules() == ["load", "unknown"]
        assert "has not been measured yet" in p.decisions()[-1].reason
        cpu.value = 500.0
        assert (await p.seconds(2))[-1] == 1


@pytest.mark.parametrize(
    ("kind", "why"),
    [("queue", "no queue"), ("cpu", "CPU is not measured here"), ("tickets", "no Prometheus is configured")],
)
async def test_a_load_without_a_source_says_what_is_missing(kind: str, why: str) -> None:
    async with plant() as p:
        await p.deploy(type=kind)
        await p.seconds(15)
        assert why in p.scaler.report(KEY).load.unknown
        assert p.rules() == ["unknown"]


# People


async def test_a_number_set_by_hand_is_a_floor_for_a_while() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY, window="1s")
        await p.scaler.set_by_hand(KEY, 6)
        await p.clock.settle()
        assert set(await p.seconds(int(MANUAL_HOLD) - 2)) == {6}
        assert (p.scaler.report(KEY).floor, p.scaler.report(KEY).floor_by) == (6, "hand")
        assert (await p.seconds(5))[-1] == 1
        assert p.rules()[:2] == ["hand", "floor"]


async def test_load_goes_above_a_number_set_by_hand_at_once() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.seconds(3, inflight=8)
        await p.scaler.set_by_hand(KEY, 2)
        await p.clock.settle()
        assert p.desired() == 2
        assert await p.second(inflight=8) == 4
        assert p.rules() == ["load", "hand", "load"]


async def test_zero_set_by_hand_rests_until_a_request_wakes_it() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.scaler.set_by_hand(KEY, 0)
        await p.clock.settle()
        assert set(await p.seconds(5)) == {0}
        await p.wake()
        assert await p.second(inflight=4) == 2
        assert p.rules() == ["hand", "wake", "load"]


async def test_a_number_that_cannot_be_set_leaves_no_floor() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        p.provider.refuses[KEY] = ProviderUnavailable("no engine")
        with pytest.raises(ProviderUnavailable):
            await p.scaler.set_by_hand(KEY, 6)
        del p.provider.refuses[KEY]
        await p.second()
        assert p.scaler.report(KEY).floor == 0


async def test_a_number_for_a_function_that_there_is_not_is_refused() -> None:
    async with plant() as p:
        with pytest.raises(FunctionNotFound):
            await p.scaler.set_by_hand("nobody.openfaas-fn", 2)
        assert p.rules("nobody.openfaas-fn") == []


async def test_a_number_set_elsewhere_is_a_persons_too() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY, window="1s")
        await p.second()
        await p.provider.scale("f", "openfaas-fn", 5)
        await p.clock.settle()
        assert set(await p.seconds(20)) == {5}
        assert p.rules() == ["hand", "floor"]


# Alerts


async def test_a_firing_alert_adds_a_step_that_load_does_not_undo() -> None:
    async with plant() as p:
        await p.deploy(window="1s")
        assert await p.scaler.follow([Alert(function="f", firing=True)]) == []
        await p.clock.settle()
        assert set(await p.seconds(600)) == {3}
        assert p.scaler.report(KEY).floor_by == "alert"
        await p.scaler.follow([Alert(function="f", firing=False)])
        assert set(await p.seconds(5)) == {1}
        assert p.rules() == ["alert", "floor", "alert", "minimum"]
        assert p.scaler.alerts == {"scaled": 1, "unchanged": 1}


async def test_an_alert_that_is_over_takes_nothing_that_the_load_needs() -> None:
    async with plant() as p:
        await p.deploy(**{**CAPACITY, "window": "5s"})
        await p.scaler.follow([Alert(function="f", firing=True)])
        assert (await p.seconds(5, inflight=10))[-1] == 5
        await p.scaler.follow([Alert(function="f", firing=False)])
        await p.scaler.follow([Alert(function="f", firing=False)])
        assert set(await p.seconds(60, inflight=10)) == {5}
        assert p.rules().count("alert") == 2
        assert (await p.seconds(20))[-1] == 1


@pytest.mark.parametrize("labels", [{"type": "cpu"}, {"min": "1", "max": "1"}], ids=["unknown", "fixed"])
async def test_an_alert_that_is_over_leaves_the_least_where_no_load_decides(labels: dict[str, str]) -> None:
    async with plant() as p:
        await p.deploy(**labels)
        await p.provider.scale("f", DEFAULT_NAMESPACE, 3)
        await p.clock.settle()
        await p.scaler.follow([Alert(function="f", firing=False)])
        await p.clock.settle()
        assert p.desired() == 1


async def test_what_became_of_alerts_is_counted() -> None:
    async with plant() as p:
        await p.deploy(max="1")
        await p.deploy("other")
        p.provider.refuses[OTHER] = ProviderUnavailable("no engine")
        alerts = [Alert(function=name, firing=True) for name in ("f", "", "ghost", "other")]
        errors = await p.scaler.follow(alerts)
        assert [str(error) for error in errors] == ["no engine"]
        assert p.scaler.alerts == {"unchanged": 1, "unnamed": 1, "unknown": 1, "failed": 1}
        assert p.decisions(OTHER)[-1].failed == "no engine"
        assert p.rules("ghost.openfaas-fn") == ["alert"]


async def test_alerts_that_come_too_seldom_are_hinted_at() -> None:
    async with plant() as p:
        await p.deploy()
        await p.scaler.follow([Alert(function="f", firing=True)])
        assert p.scaler.report(KEY).alert.hint == ""
        await p.clock.advance(300)
        await p.scaler.follow([Alert(function="f", firing=True)])
        assert "came after 300 s" in p.scaler.report(KEY).alert.hint


# Zero


async def test_an_idle_function_rests_and_a_request_wakes_it() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY, zero="true", zero_after="30s")
        await p.seconds(3, inflight=1)
        seen = await p.seconds(35)
        assert (seen[28], seen[-1]) == (1, 0)
        assert set(await p.seconds(10)) == {0}
        await p.wake()
        assert set(await p.seconds(20, inflight=1)) == {1}
        assert p.rules() == ["idle", "wake"]


async def test_a_request_that_comes_as_soon_as_a_function_rests_wakes_it_and_counts() -> None:
    """Between two ticks, so that both of them see one replica."""
    async with plant() as p:
        await p.deploy(**CAPACITY, zero="true", zero_after="30s")
        while await p.second():
            pass
        await p.wake()
        assert await p.second(inflight=8) == 4
        assert p.rules() == ["idle", "wake", "load"]


SLOW = Script(start_delay=90.0)
"""Of a replica whose start takes longer than its function may be idle."""


async def test_a_start_that_takes_longer_than_idleness_may_is_not_broken_off() -> None:
    async with plant() as p:
        p.provider.script = SLOW
        await p.deploy(zero="true", zero_after="30s")
        assert set(await p.seconds(89)) == {1}
        assert p.scaler.report(KEY).idle_for <= 1
        seen = await p.seconds(35)
        assert (seen[25], seen[-1]) == (1, 0)


async def test_idleness_begins_anew_when_the_replica_that_a_call_woke_is_ready() -> None:
    async with plant() as p:
        await p.deploy(zero="true", zero_after="30s")
        while await p.second():
            pass
        p.provider.script = SLOW
        await p.wake()
        seen = await p.seconds(125)
        assert (seen[115], seen[-1]) == (1, 0)


async def test_a_number_set_by_hand_for_a_function_at_rest_is_waited_for_too() -> None:
    async with plant() as p:
        await p.deploy(zero="true", zero_after="30s")
        await p.scaler.set_by_hand(KEY, 0)
        await p.seconds(3)
        p.provider.script = SLOW
        await p.scaler.set_by_hand(KEY, 2)
        assert set((await p.seconds(100))[1:]) == {2}


async def test_a_function_whose_starts_all_fail_rests_when_it_has_been_idle() -> None:
    async with plant() as p:
        p.provider.script = Script(never_ready=True, crash_after=3.0)
        await p.deploy(zero="true", zero_after="30s")
        assert (await p.seconds(60))[-1] == 0


async def test_one_that_was_ready_and_is_not_any_more_rests_when_it_has_been_idle() -> None:
    async with plant() as p:
        await p.deploy(zero="true", zero_after="30s")
        await p.seconds(3)
        p.provider.script = Script(never_ready=True)
        await p.update(zero="true", zero_after="30s", target="7")
        assert (await p.seconds(60))[-1] == 0


async def test_a_long_request_keeps_a_function_from_resting() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY, zero="true", zero_after="5s")
        assert set(await p.seconds(60, inflight=1)) == {1}


async def test_equal_bounds_rest_too() -> None:
    async with plant() as p:
        await p.deploy(min="2", max="2", zero="true", zero_after="5s")
        assert (await p.seconds(10))[-1] == 0


async def test_idleness_ends_what_an_alert_asked_for() -> None:
    async with plant() as p:
        await p.deploy(zero="true", zero_after="30s")
        await p.scaler.follow([Alert(function="f", firing=True)])
        await p.clock.settle()
        assert (await p.seconds(40))[-1] == 0


async def test_a_function_that_is_called_by_the_clock_is_warm_in_time() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY, zero="true", learn="auto")
        for _ in range(12):
            await p.seconds(299)
            if not p.desired():
                await p.wake()
            await p.second(rps=1, inflight=0.1)
        seen = await p.seconds(298)
        assert 0 in seen
        assert seen[-1] == 1
        assert p.rules()[-1] == "warm"


# Trouble


async def test_a_refusal_is_said_once_and_tried_again_while_others_go_on() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.deploy("other", **CAPACITY)
        p.provider.refuses[KEY] = ProviderUnavailable("no engine")
        for _ in range(5):
            p.counts.totals.started[OTHER] = p.counts.totals.started.get(OTHER, 0) + 6
            p.counts.totals.busy[OTHER] = p.counts.totals.busy.get(OTHER, 0) + 6.0
            await p.second(inflight=6)
        assert (p.desired(), p.desired(OTHER)) == (1, 3)
        assert [(one.rule, one.failed) for one in p.decisions()] == [("load", "no engine")]
        assert p.provider.scaled.count((KEY, 3)) == 5
        del p.provider.refuses[KEY]
        assert await p.second(inflight=6) == 3
        assert [one.failed for one in p.decisions()] == ["no engine", ""]


async def test_a_provider_that_hangs_for_one_function_holds_up_no_other() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.deploy("other", **CAPACITY)
        p.provider.hangs.add(KEY)
        await p.seconds(3, inflight=6)
        assert p.provider.scaled.count((KEY, 3)) == 1
        await p.seconds(3, inflight=6, key=OTHER)
        assert p.desired(OTHER) == 3
        p.provider.hangs.clear()
        assert (await p.seconds(int(PATIENCE), inflight=6))[-1] == 3
        assert [one.failed for one in p.decisions()] == ["the provider has not answered for 30 s", ""]


async def test_a_tick_that_fails_does_not_end_the_scaler() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        works, failures = p.counts.flush, [OSError("defect")]

        async def flush(timeout: float) -> bool:
            if failures:
                raise failures.pop()
            return await works(timeout)

        p.counts.flush = flush  # type: ignore[method-assign]
        running = asyncio.create_task(p.scaler.run())
        try:
            await p.clock.advance(3)
            assert p.scaler.ticks >= 2
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


# Lives


async def test_a_control_process_that_starts_anew_lowers_nothing_before_the_window_is_over() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.seconds(3, inflight=10)
        p.scaler = p.new_scaler(Sources())
        assert set(await p.seconds(20, inflight=10)) == {5}
        assert p.rules() == []


async def test_idleness_counts_from_the_start_of_control() -> None:
    async with plant() as p:
        await p.deploy(zero="true", zero_after="30s")
        await p.seconds(25)
        p.scaler = p.new_scaler(Sources())
        assert set(await p.seconds(30)) == {1}
        assert (await p.seconds(3))[-1] == 0


async def test_a_function_deployed_anew_has_no_past() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.scaler.set_by_hand(KEY, 6)
        await p.seconds(3, inflight=2)
        await p.provider.delete("f", "openfaas-fn")
        await p.clock.advance(1)
        await p.deploy(**CAPACITY)
        assert await p.second() == 1
        assert p.rules() == []
        assert p.scaler.report(KEY).floor == 0


async def test_labels_that_an_update_changes_count_from_the_next_tick() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY)
        await p.seconds(3, inflight=8)
        await p.update(type="capacity", target="1", proportion="1")
        assert (await p.seconds(2, inflight=8))[-1] == 8
        assert p.scaler.report(KEY).scaling.target == 1


async def test_labels_that_cannot_be_used_are_told() -> None:
    async with plant() as p:
        await p.deploy()
        function = p.functions[KEY]
        labels = {"com.openfaas.scale.target": "many"}
        spec = type(function.spec)(name="f", env_process="cat", labels=labels)
        p.functions[KEY] = type(function)(spec=spec, desired=1, created_at=function.created_at)
        report = p.scaler.report(KEY)
        assert report.scaling.target == 50
        assert "com.openfaas.scale.target" in report.faults[0]


async def test_nothing_is_decided_by_load_where_another_gateway_leads() -> None:
    answers = [False]

    async def lead(holder: str, seconds: float) -> bool:
        return answers[0]

    async with plant(lead=lead, holder="here") as p:
        await p.deploy(**CAPACITY)
        running = asyncio.create_task(p.scaler.run())
        try:
            await p.clock.settle()
            assert p.scaler.report(KEY).leader is False
            await p.seconds(2, inflight=8)
            assert p.desired() == 1
            answers[0] = True
            await p.seconds(2, inflight=8)
            assert p.scaler.leader
            assert p.desired() == 4
        finally:
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running


async def test_what_the_gateway_that_leads_has_decided_is_nobodys_floor() -> None:
    async def lead(holder: str, seconds: float) -> bool:
        return False

    async with plant(lead=lead) as p:
        await p.deploy(**CAPACITY)
        await p.second()
        await p.provider.scale("f", "openfaas-fn", 5)
        await p.clock.settle()
        assert await p.second() == 5
        assert p.scaler.report(KEY).floor == 0
        assert p.rules() == []


async def test_loads_of_other_gateways_are_added() -> None:
    class Peers:
        busy = 0.0

        async def gather(self) -> tuple[dict[str, int], dict[str, float], dict[str, int]]:
            self.busy += 6.0
            return {}, {KEY: self.busy}, {KEY: 6}

    async with plant(peers=Peers()) as p:
        await p.deploy(**CAPACITY)
        assert (await p.seconds(2, inflight=2))[-1] == 4


async def test_a_report_says_everything() -> None:
    async with plant() as p:
        await p.deploy(**CAPACITY, zero="true", zero_after="1h")
        await p.seconds(3, inflight=3)
        report = p.scaler.report(KEY)
        assert (report.function, report.namespace, report.replicas) == ("f", "openfaas-fn", 2)
        assert report.autoscaling
        assert report.leader
        assert (report.load.kind, report.load.value) == ("capacity", 3)
        assert (report.idle_for, report.rests_after) == (0, 3600)
        assert [decision.after for decision in report.decisions] == [2]
        assert p.scaler.load(KEY) == 3
        assert p.scaler.load("nobody.openfaas-fn") is None
        with pytest.raises(FunctionNotFound):
            p.scaler.report("nobody.openfaas-fn")


async def test_a_function_that_never_rests_says_so() -> None:
    async with plant() as p:
        await p.deploy()
        assert p.scaler.report(KEY).rests_after is None
        assert p.scaler.leader
        assert math.isfinite(p.scaler.report(KEY).idle_for)


async def test_where_autoscaling_is_off_the_report_says_so() -> None:
    async with plant(enabled=False) as p:
        await p.deploy()
        report = p.scaler.report(KEY)
        assert (report.autoscaling, report.load.unknown) == (False, "autoscaling is off")


async def test_a_pipeline_is_left_alone_whatever_its_load_and_labels() -> None:
    async with plant() as p:
        labels = {"com.openfaas.scale.min": "2", "com.openfaas.scale.zero": "true"}
        await p.provider.deploy(FunctionSpec(name="f", stages=("sort",), labels=labels))
        await p.clock.settle()
        await p.seconds(20, rps=1000, inflight=50)
        assert p.provider.scaled == []
        assert p.rules() == []
        with pytest.raises(InvalidInput, match=r"scale sort\.openfaas-fn"):
            await p.scaler.set_by_hand(KEY, 3)
        with pytest.raises(InvalidInput, match=r"scale sort\.openfaas-fn"):
            p.scaler.report(KEY)
        assert await p.scaler.follow([Alert(function=KEY, firing=True)]) == []
        assert p.scaler.alerts == {"unchanged": 1}
