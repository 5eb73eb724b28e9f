"""Replicas from launch to end, with an engine that says what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from penstock.errors import ProviderUnavailable
from penstock.model import LogQuery
from penstock.providers.containers import labels
from penstock.providers.containers.adopting import found_of
from penstock.providers.containers.deaths import Happening
from penstock.providers.containers.engine import EngineRefused
from penstock.providers.containers.lives import Lives
from penstock.providers.containers.starting import Starter
from tests.unit.providers.containers.makings import inspected, listed, order, running, scripted, settled, tools
from tests.unit.providers.containers.scripted import ScriptedEngine

PAUSE, STOP = {labels.ZERO: "pause"}, {labels.ZERO: "stop"}


class Heard:
    """What the runtime's owner is told."""

    def __init__(self) -> None:
        self.exits: list[tuple[str, str]] = []
        self.addresses: list[tuple[str, str]] = []

    def exited(self, token: str, reason: str) -> None:
        self.exits.append((token, reason))

    def addressed(self, token: str, address: str) -> None:
        self.addresses.append((token, address))

    def waiting(self, token: str, what: str) -> None: ...

    def broken(self, token: str, why: str) -> None: ...

    def available(self) -> None: ...


class World:
    def __init__(self, answers: dict[tuple[str, str], Any]) -> None:
        self.engine: ScriptedEngine = scripted(answers)
        self.heard = Heard()
        self.lives = Lives(self.engine, Starter(tools(self.engine)), "net", self.heard, self._no_time)

    async def _no_time(self, seconds: float) -> None:
        await asyncio.sleep(0)

    def look_again(self, *documents: dict[str, Any]) -> None:
        self.lives.look_again([found_of(document) for document in documents], self.lives.running())

    async def launched(self, token: str = "t1", **fields: Any) -> None:
        self.lives.launch(order(token, **fields))
        await settled(lambda: self.heard.addresses)

    def happened(self, action: Any, container: str = "c1", network: str = "") -> None:
        self.lives.happened(Happening(action, container, network))

    async def ended(self) -> str:
        await settled(lambda: self.heard.exits)
        [(_, reason)] = self.heard.exits
        return reason


@asynccontextmanager
async def world(answers: dict[tuple[str, str], Any] | None = None) -> AsyncIterator[World]:
    one = World(answers or {})
    yield one
    await one.lives.close()


async def test_a_launched_replica_gets_its_address_when_it_runs() -> None:
    async with world() as one:
        assert one.lives.launch(order()) == ""
        assert not one.heard.addresses
        await settled(lambda: one.heard.addresses)
        assert one.heard.addresses == [("t1", "10.0.0.2:8080")]


async def test_a_death_is_told_once_with_its_reason_and_the_container_is_kept_for_its_log() -> None:
    async with world() as one:
        await one.launched()
        one.engine.answers["GET", "/containers/c1/json"] = inspected(Running=False, ExitCode=3)
        one.happened("die")
        one.happened("destroy")
        assert await one.ended() == "exit code 3"
        [source] = one.lives.sources(LogQuery(name="f"))
        assert (source.path, source.alive) == ("/containers/c1/logs", False)
        assert not one.engine.asked("DELETE")
        one.lives.forget_logs("f.openfaas-fn", frozenset())
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))


async def test_logs_that_are_forgotten_when_the_last_replica_ends_take_its_container_with_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with world() as one:
        await one.launched()
        one.engine.answers["GET", "/containers/c1/json"] = inspected(Running=False, ExitCode=3)
        monkeypatch.setattr(one.heard, "exited", lambda *_: one.lives.forget_logs("f.openfaas-fn", frozenset()))
        one.happened("die")
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))
        assert not one.lives.sources(LogQuery(name="f"))


async def test_events_of_strangers_change_nothing() -> None:
    async with world() as one:
        await one.launched()
        one.happened("die", "stranger")
        one.happened("disconnect", "stranger", "net")
        one.happened("disconnect", "c1", "another network")
        assert "t1" in one.lives.entries
        assert not one.heard.exits


async def test_a_death_from_before_the_start_is_another_lifes() -> None:
    async with world() as one:
        await one.launched()
        before = len(one.engine.asked("GET", "/containers/c1/json"))
        one.lives.happened(Happening("die", "c1", at=1.0))
        await settled(lambda: len(one.engine.asked("GET", "/containers/c1/json")) > before)
        assert not one.lives.entries["t1"].ended.done()


async def test_a_death_is_believed_though_the_engines_clock_was_set_back() -> None:
    async with world() as one:
        await one.launched()
        one.engine.answers["GET", "/containers/c1/json"] = inspected(Running=False, ExitCode=3)
        one.lives.happened(Happening("die", "c1", at=1.0))
        assert await one.ended() == "exit code 3"


async def test_a_death_while_its_start_is_being_read_is_not_lost() -> None:
    async with world() as one:

        def inspect(_: object) -> object:
            one.happened("die")
            one.engine.answers["GET", "/containers/c1/json"] = inspected(Running=False, ExitCode=5)
            return inspected()

        one.engine.answers["GET", "/containers/c1/json"] = inspect
        one.lives.launch(order())
        assert await one.ended() == "exit code 5"


async def test_a_dead_container_that_somebody_starts_again_is_removed() -> None:
    async with world() as one:
        await one.launched()
        one.engine.answers["GET", "/containers/c1/json"] = inspected(Running=False, ExitCode=3)
        one.happened("die")
        await one.ended()
        one.happened("start")  # an old one, told again
        one.engine.answers["GET", "/containers/c1/json"] = inspected()
        one.happened("start")
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))
        assert not one.lives.sources(LogQuery(name="f"))


async def test_a_container_that_somebody_restarts_is_a_death_and_does_not_live_on() -> None:
    async with world() as one:
        await one.launched()
        one.happened("die")
        one.happened("start")
        await one.ended()
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))


async def test_a_removed_container_is_a_death() -> None:
    async with world() as one:
        await one.launched()
        one.happened("destroy")
        assert "removed by somebody else" in await one.ended()


async def test_a_container_off_its_network_is_ended() -> None:
    async with world() as one:
        await one.launched()
        one.engine.answers["GET", "/containers/c1/json"] = inspected() | {"NetworkSettings": {"Networks": {}}}
        one.happened("disconnect", network="net")
        assert "disconnected from its network" in await one.ended()
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))


async def test_a_container_that_leaves_its_network_because_it_ends_says_how_it_ended() -> None:
    async with world() as one:
        await one.launched()
        one.engine.answers["GET", "/containers/c1/json"] = inspected(Running=False, ExitCode=4)
        one.happened("disconnect", network="net")
        assert await one.ended() == "exit code 4"


async def test_a_container_frozen_by_hand_is_thawed() -> None:
    async with world() as one:
        await one.launched()
        one.engine.answers["GET", "/containers/c1/json"] = inspected(Paused=True)
        one.happened("pause")
        await settled(lambda: one.engine.asked("POST", "/containers/c1/unpause"))


async def test_who_is_asked_to_end_gets_the_signal_of_its_image() -> None:
    document = inspected()
    document["Config"]["StopSignal"] = "SIGQUIT"
    async with world({("GET", "/containers/c1/json"): document}) as one:
        await one.launched()
        one.lives.stop("t1", kill=False)
        one.lives.stop("t1", kill=False)
        await settled(lambda: one.engine.asked("POST", "/containers/c1/kill"))
        [asked] = one.engine.asked("POST", "/containers/c1/kill")
        assert asked.params == {"signal": "SIGQUIT"}
        one.happened("die")
        await one.ended()
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))
        assert not one.lives.sources(LogQuery(name="f"))


async def test_force_is_one_request() -> None:
    async with world() as one:
        await one.launched()
        one.lives.stop("t1", kill=True)
        await one.ended()
        assert one.engine.asked("DELETE", "/containers/c1")
        assert not one.engine.asked("POST", "/containers/c1/kill")


@pytest.mark.parametrize("trouble", [ProviderUnavailable("away"), EngineRefused(500, "device or resource busy")])
async def test_what_was_asked_of_an_engine_in_vain_is_asked_until_it_is_done(trouble: Exception) -> None:
    async with world({("DELETE", "/containers/c1"): trouble}) as one:
        await one.launched()
        one.lives.stop("t1", kill=True)
        await settled(lambda: len(one.engine.asked("DELETE")) > 3)
        assert not one.heard.exits
        one.engine.answers["DELETE", "/containers/c1"] = ""
        assert await one.ended() == "ended by force"


async def test_a_signal_that_did_not_arrive_is_sent_again_unless_force_is_wanted_meanwhile() -> None:
    async with world({("POST", "/containers/c1/kill"): ProviderUnavailable("away")}) as one:
        await one.launched()
        one.lives.stop("t1", kill=False)
        await settled(lambda: len(one.engine.asked("POST", "/containers/c1/kill")) > 2)
        one.lives.stop("t1", kill=True)
        assert await one.ended() == "ended by force"
        sent = len(one.engine.asked("POST", "/containers/c1/kill"))
        await settled(lambda: not one.lives._tasks)
        assert len(one.engine.asked("POST", "/containers/c1/kill")) - sent <= 1


async def test_closing_removes_what_was_told_to_end_in_vain() -> None:
    async with world({("POST", "/containers/c1/kill"): ProviderUnavailable("slow")}) as one:
        await one.launched()
        one.lives.stop("t1", kill=False)
        await one.lives.close()
        assert one.engine.asked("DELETE", "/containers/c1")


async def test_a_start_that_fails_is_an_exit() -> None:
    async with world({("POST", "/containers/create"): EngineRefused(500, "no space left on device")}) as one:
        one.lives.launch(order())
        assert "no space left on device" in await one.ended()


async def test_what_could_not_be_removed_after_a_failed_start_is_removed_later() -> None:
    broken = {
        ("POST", "/containers/c1/start"): ProviderUnavailable("slow"),
        ("DELETE", "/containers/c1"): ProviderUnavailable("slow"),
    }
    async with world(broken) as one:
        one.lives.launch(order())
        assert await one.ended() == "slow"
        one.engine.answers["DELETE", "/containers/c1"] = ""
        await settled(lambda: not one.lives.remove._tasks)
        assert len(one.engine.asked("DELETE", "/containers/c1")) > 1


async def test_an_answer_that_makes_no_sense_leaves_no_container(caplog: pytest.LogCaptureFixture) -> None:
    async with world({("GET", "/containers/c1/json"): {}}) as one:
        one.lives.launch(order())
        assert "KeyError" in await one.ended()
        assert one.engine.asked("DELETE", "/containers/c1")
        assert "could not be started" in caplog.text


async def test_a_fault_of_ours_is_an_exit_too(caplog: pytest.LogCaptureFixture) -> None:
    async with world({("POST", "/containers/create"): {}}) as one:
        one.lives.launch(order())
        assert "KeyError" in await one.ended()
        assert "could not be started" in caplog.text


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (None, "removed by somebody else"),
        (listed(order(), state="exited"), "exit code 9"),
        (listed(order(), NetworkSettings={"Networks": {}}), "disconnected"),
    ],
)
async def test_after_a_time_unseen_the_dead_are_found(document: dict[str, Any] | None, why: str) -> None:
    async with world() as one:
        await one.launched()
        one.engine.answers["GET", "/containers/c1/json"] = inspected(Running=False, ExitCode=9)
        one.look_again(*([document] if document else []))
        assert why in await one.ended()


async def test_what_was_listed_before_a_replica_ran_says_nothing_of_it() -> None:
    async with world() as one:
        asked_about = one.lives.running()
        await one.launched()
        one.lives.look_again([], asked_about)
        assert not one.lives.entries["t1"].ended.done()


async def test_after_a_time_unseen_unknown_replicas_are_removed_and_helpers_are_not() -> None:
    helper = listed(order("t8"), "helper")
    helper["Labels"][labels.KIND] = "helper"
    async with world({("DELETE", "/containers/lost"): ""}) as one:
        await one.launched()
        one.look_again(listed(order()), listed(order("t9"), "lost"), helper)
        await settled(lambda: one.engine.asked("DELETE"))
        assert [call.path for call in one.engine.asked("DELETE")] == ["/containers/lost"]
        assert not one.heard.exits


async def test_an_adopted_replica_is_watched_like_others() -> None:
    async with world() as one:
        one.lives.adopt(running(order("t5")))
        one.engine.answers["GET", "/containers/c1/json"] = inspected(Running=False, ExitCode=1)
        one.happened("die")
        assert await one.ended() == "exit code 1"


async def test_closing_leaves_what_runs_alone() -> None:
    async with world() as one:
        await one.launched()
        await one.lives.close()
        assert not one.heard.exits
        assert not one.engine.asked("DELETE")


# Zero


async def test_waking_a_frozen_container_is_one_request_and_its_address_is_known_at_once() -> None:
    async with world() as one:
        await one.launched(labels=PAUSE)
        one.lives.rest("t1")
        assert await one.ended() == "kept"
        assert one.engine.asked("POST", "/containers/c1/pause")
        before = len(one.engine.calls)
        assert one.lives.launch(order("t2", labels=PAUSE)) == "10.0.0.2:8080"
        await settled(lambda: one.lives.entries["t2"].stage == "running")
        assert [call.path for call in one.engine.calls[before:]] == ["/containers/c1/unpause"]


async def test_a_stopped_container_is_started_again() -> None:
    async with world() as one:
        await one.launched(labels=STOP)
        one.lives.rest("t1")
        await settled(lambda: one.engine.asked("POST", "/containers/c1/kill"))
        one.happened("die")
        await one.ended()
        one.happened("disconnect", network="net")
        assert one.lives.launch(order("t2", labels=STOP)) == ""
        await settled(lambda: len(one.heard.addresses) == 2)
        assert len(one.engine.asked("POST", "/containers/create")) == 1
        assert len(one.engine.asked("POST", "/containers/c1/start")) == 2


async def test_one_that_ignores_its_signal_is_ended_by_force_and_kept_all_the_same() -> None:
    async with world() as one:
        await one.launched(labels=STOP)
        one.lives.rest("t1")
        await settled(lambda: one.engine.asked("POST", "/containers/c1/kill"))
        one.lives.stop("t1", kill=True)
        await settled(lambda: len(one.engine.asked("POST", "/containers/c1/kill")) == 2)
        assert [call.params["signal"] for call in one.engine.asked("POST", "/containers/c1/kill")] == [
            "SIGTERM",
            "SIGKILL",
        ]
        one.happened("die")
        await one.ended()
        assert not one.engine.asked("DELETE")
        one.lives.launch(order("t2", labels=STOP))
        await settled(lambda: len(one.heard.addresses) == 2)
        assert len(one.engine.asked("POST", "/containers/create")) == 1


async def test_one_that_the_engine_cannot_end_is_not_kept() -> None:
    async with world({("POST", "/containers/c1/kill"): EngineRefused(500, "cannot kill")}) as one:
        await one.launched(labels=STOP)
        one.lives.rest("t1")
        await one.ended()
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))


async def test_without_a_label_rest_is_an_end() -> None:
    async with world() as one:
        await one.launched()
        one.lives.rest("t1")
        await settled(lambda: one.engine.asked("POST", "/containers/c1/kill"))
        one.happened("die")
        await one.ended()
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))


async def test_new_secrets_are_uploaded_before_it_wakes() -> None:
    async with world() as one:
        await one.launched(labels=PAUSE, secrets={"key": b"old"})
        one.lives.rest("t1")
        await one.ended()
        one.lives.launch(order("t2", labels=PAUSE, secrets={"key": b"new"}))
        await settled(lambda: one.engine.asked("POST", "/containers/c1/unpause"))
        assert len(one.engine.asked("PUT")) == 2
        assert b"new" in next(iter(one.engine.archives.values()))


async def test_one_that_cannot_be_woken_is_replaced() -> None:
    async with world({("POST", "/containers/c1/unpause"): EngineRefused(500, "cannot thaw")}) as one:
        await one.launched(labels=PAUSE)
        one.lives.rest("t1")
        await one.ended()
        one.lives.launch(order("t2", labels=PAUSE))
        await settled(lambda: len(one.engine.asked("POST", "/containers/create")) == 2)
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))


async def test_one_that_died_while_it_was_woken_is_replaced_by_one_that_lives() -> None:
    async with world() as one:
        await one.launched(labels=PAUSE)
        one.lives.rest("t1")
        await one.ended()

        def unpause(_: object) -> object:
            one.happened("die")
            one.engine.answers["POST", "/containers/create"] = {"Id": "c2"}
            return EngineRefused(409, "Container c1 is not running")

        one.engine.answers["POST", "/containers/c1/unpause"] = unpause
        one.engine.answers["POST", "/containers/c2/start"] = ""
        one.engine.answers["GET", "/containers/c2/json"] = inspected("c2", address="10.0.0.3")
        one.lives.launch(order("t2", labels=PAUSE))
        await settled(lambda: len(one.heard.addresses) == 3)
        assert one.heard.addresses[1:] == [("t2", ""), ("t2", "10.0.0.3:8080")]
        assert not one.lives.entries["t2"].ended.done()
        assert len(one.heard.exits) == 1


async def test_one_that_somebody_thawed_is_as_good() -> None:
    async with world({("POST", "/containers/c1/unpause"): EngineRefused(500, "Container c1 is not paused")}) as one:
        await one.launched(labels=PAUSE)
        one.lives.rest("t1")
        await one.ended()
        one.lives.launch(order("t2", labels=PAUSE))
        await settled(lambda: one.lives.entries["t2"].stage == "running")
        assert len(one.engine.asked("POST", "/containers/create")) == 1


@pytest.mark.parametrize(
    "happening", [Happening("die", "c1"), Happening("destroy", "c1"), Happening("disconnect", "c1", "net")]
)
async def test_a_kept_container_that_somebody_touches_is_given_up(happening: Happening) -> None:
    async with world() as one:
        await one.launched(labels=PAUSE)
        one.lives.rest("t1")
        await one.ended()
        one.lives.happened(happening)
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))
        one.lives.launch(order("t2", labels=PAUSE))
        await settled(lambda: len(one.engine.asked("POST", "/containers/create")) == 2)


async def test_kept_containers_are_compared_after_a_time_unseen() -> None:
    async with world() as one:
        await one.launched(labels=PAUSE)
        one.lives.rest("t1")
        await one.ended()
        one.look_again(listed(order(labels=PAUSE), state="paused"))
        assert one.lives._resting.containers("f.openfaas-fn")
        one.look_again(listed(order(labels=PAUSE), state="exited"))
        assert not one.lives._resting.containers("f.openfaas-fn")


async def test_a_deleted_functions_container_is_not_kept() -> None:
    async with world() as one:
        await one.launched(labels=PAUSE)
        one.lives.rest("t1")
        await one.ended()
        one.lives.forget("f.openfaas-fn")
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))


async def test_a_function_deleted_while_its_container_stops_keeps_nothing() -> None:
    async with world() as one:
        await one.launched(labels=STOP)
        one.lives.rest("t1")
        one.lives.forget("f.openfaas-fn")
        one.happened("die")
        await one.ended()
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))


async def test_a_function_deleted_while_the_engine_freezes_keeps_nothing() -> None:
    async with world() as one:
        await one.launched(labels=PAUSE)

        def pause(_: object) -> object:
            one.lives.forget("f.openfaas-fn")
            return ""

        one.engine.answers["POST", "/containers/c1/pause"] = pause
        one.lives.rest("t1")
        await settled(lambda: one.engine.asked("POST", "/containers/c1/kill"))
        one.happened("die")
        assert await one.ended() == "ended as it was told"
        assert not one.lives._resting.containers()
        await settled(lambda: one.engine.asked("DELETE", "/containers/c1"))


async def test_a_newer_specification_does_not_cut_off_who_still_waits_for_an_answer_of_the_older() -> None:
    async with world() as one:
        busy = asyncio.Event()

        async def until_idle(seconds: float) -> None:
            await busy.wait()

        one.lives._resting._sleep = until_idle
        await one.launched(labels=PAUSE)
        one.lives.rest("t1")
        one.engine.answers["POST", "/containers/create"] = {"Id": "c2"}
        one.engine.answers["POST", "/containers/c2/start"] = ""
        one.engine.answers["GET", "/containers/c2/json"] = inspected("c2")
        one.lives.launch(order("t2", labels=PAUSE, image="web:1", generation=2))
        await settled(lambda: len(one.heard.addresses) == 2)
        assert [call.params for call in one.engine.asked("POST", "/containers/c1/kill")] == [{"signal": "SIGTERM"}]
        assert not one.engine.asked("DELETE", "/containers/c1")


async def test_a_replica_wanted_while_the_engine_freezes_waits_for_that() -> None:
    async with world() as one:
        await one.launched(labels=PAUSE)

        def pause(_: object) -> object:
            one.lives.launch(order("t2", labels=PAUSE))
            return ""

        one.engine.answers["POST", "/containers/c1/pause"] = pause
        one.lives.rest("t1")
        await settled(lambda: one.engine.asked("POST", "/containers/c1/unpause"))
        await settled(lambda: len(one.heard.addresses) == 2)
        assert len(one.engine.asked("POST", "/containers/create")) == 1
