"""The docker runtime's own decisions: what it refuses, how it connects, and what it says of its engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock.core.health import Check
from penstock.errors import InvalidInput, ProviderUnavailable
from penstock.model import FunctionSpec, Resources
from penstock.providers.containers import labels
from penstock.providers.containers.bundle import Tell
from penstock.providers.containers.engine import EngineRefused
from penstock.providers.runtimes import docker
from penstock.providers.runtimes.docker import DockerRuntime, create_docker_provider
from penstock.settings import ServeSettings
from tests.unit.providers.containers.makings import inspected, listed, order, scripted, settled
from tests.unit.providers.containers.scripted import ScriptedEngine
from tests.unit.providers.containers.test_lives import Heard

INFO = {"ServerVersion": "20.10.24", "NCPU": 2, "OSType": "linux", "Architecture": "x86_64", "Name": "here"}


class Unmade:
    """A bundle that is never done."""

    image, made = "", True

    def __init__(self) -> None:
        self.begun = 0

    async def name(self) -> str:
        return "1.0-abc"

    async def directory(self, tell: Tell) -> Path:
        self.begun += 1
        return await asyncio.Future()


class Started:
    def __init__(
        self, runtime: DockerRuntime, engine: ScriptedEngine, heard: Heard, found: list[Any], source: Unmade
    ) -> None:
        self.runtime, self.engine, self.heard, self.found, self.source = runtime, engine, heard, found, source


@asynccontextmanager
async def started(
    monkeypatch: pytest.MonkeyPatch, answers: dict[tuple[str, str], Any] | None = None, **settings: Any
) -> AsyncIterator[Started]:
    source = Unmade()
    engine = scripted(
        {("GET", "/info"): INFO, ("GET", "/version"): {}, ("GET", "/containers/json"): [], **(answers or {})}
    )
    monkeypatch.setattr(docker, "Engine", lambda environ: engine)
    monkeypatch.setattr(docker, "own_source", lambda home, environ: source)
    given: dict[str, Any] = {"docker_connect": "ip", "docker_network": "net", "pull": "never", **settings}
    runtime = DockerRuntime(ServeSettings(home=Path("/nonexistent"), **given), {}, "mine")
    heard = Heard()
    found = await runtime.start(heard)
    try:
        yield Started(runtime, engine, heard, found, source)
    finally:
        await runtime.close()


async def test_it_says_what_it_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started(monkeypatch) as one:
        info = one.runtime.info()
        assert (info.provider, info.orchestration) == ("docker", "docker 20.10.24")
        await one.runtime.health()


async def test_the_watchdog_is_made_before_the_first_function_comes_and_nobody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with started(monkeypatch) as one:
        await settled(lambda: one.source.begun)
        await one.runtime.health()


async def test_a_replica_can_be_launched_as_soon_as_it_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started(monkeypatch) as one:
        one.runtime.launch(order())
        await settled(lambda: one.heard.addresses)
        assert one.runtime.check_of("t1") == Check(passes="any")
        one.runtime.stop("t1", kill=True)
        await settled(lambda: one.heard.exits)


async def test_running_containers_are_found_oldest_first_and_others_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    containers = [
        listed(order("t2"), "young"),
        listed(order("t1"), "old"),
        listed(order("t3"), "dead", state="exited"),
        listed(order("t4"), "lost"),
        {**listed(order("t5"), "foreign"), "Labels": {labels.OWNER: "another"}},
    ]
    answers = {
        ("GET", "/containers/json"): containers,
        ("GET", "/containers/young/json"): inspected("young", StartedAt="2026-01-02T00:00:02Z"),
        ("GET", "/containers/old/json"): inspected("old", StartedAt="2026-01-02T00:00:01Z"),
        ("GET", "/containers/lost/json"): inspected("lost", address=""),
        ("DELETE", "/containers/dead"): "",
        ("DELETE", "/containers/lost"): "",
    }
    async with started(monkeypatch, answers) as one:
        assert [running.token for running in one.found] == ["t1", "t2"]
        await settled(lambda: len(one.engine.asked("DELETE")) == 2)
        assert {call.path for call in one.engine.asked("DELETE")} == {"/containers/dead", "/containers/lost"}


async def test_a_frozen_one_is_thawed_before_it_is_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started(monkeypatch, {("GET", "/containers/json"): [listed(order(), state="paused")]}) as one:
        assert [running.token for running in one.found] == ["t1"]
        assert one.engine.asked("POST", "/containers/c1/unpause")


async def test_an_engine_that_refuses_at_the_start_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProviderUnavailable, match="refuses: no permission"):
        async with started(monkeypatch, {("GET", "/containers/json"): EngineRefused(403, "no permission")}):
            pass


async def test_while_the_engine_is_away_nothing_is_launched_and_health_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started(monkeypatch) as one:
        one.engine.answers["GET", "/info"] = ProviderUnavailable("the engine is away")
        await one.engine.events.put(ProviderUnavailable("the engine went away"))
        await settled(lambda: one.runtime._watch.problem)
        with pytest.raises(ProviderUnavailable, match="away"):
            one.runtime.launch(order())
        with pytest.raises(ProviderUnavailable, match="away"):
            await one.runtime.health()


async def test_an_engine_that_refuses_to_say_its_version_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started(monkeypatch, {("GET", "/version"): EngineRefused(500, "ill")}) as one:
        with pytest.raises(ProviderUnavailable, match="refuses: ill"):
            await one.runtime.health()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"image": ""}, "image: is required"),
        ({"image": "Upper Case"}, "image"),
        ({"limits": Resources(cpu="x")}, r"limits\.cpu"),
        ({"constraints": ("node.hostname==elsewhere",)}, "does not hold on this machine"),
        ({"labels": {labels.ZERO: "sleep"}}, labels.ZERO),
        ({"labels": {labels.HTTP_PORT: "70000"}}, labels.HTTP_PORT),
    ],
)
async def test_what_could_never_run_is_refused(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], words: str
) -> None:
    async with started(monkeypatch) as one:
        with pytest.raises(InvalidInput, match=words):
            one.runtime.check(FunctionSpec(**{"name": "f", "image": "web:1", **fields}))
        one.runtime.check(FunctionSpec(name="f", image="web:1", constraints=("node.hostname==here",)))


async def test_ports_are_published_when_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    document = inspected()
    document["NetworkSettings"]["Ports"] = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "32768"}]}
    answers = {("GET", "/containers/c1/json"): document}
    async with started(monkeypatch, answers, docker_connect="port") as one:
        one.runtime.launch(order())
        await settled(lambda: one.heard.addresses)
        assert one.heard.addresses == [("t1", "127.0.0.1:32768")]


async def test_addresses_of_containers_are_used_where_the_bridge_is_this_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = {"Id": "n1", "IPAM": {"Config": [{"Gateway": "127.0.0.1"}]}}
    async with started(monkeypatch, {("GET", "/networks/net"): network}, docker_connect="auto") as one:
        one.runtime.launch(order())
        await settled(lambda: one.heard.addresses)
        assert one.heard.addresses == [("t1", "10.0.0.2:8080")]


async def test_our_network_goes_at_the_end_unless_replicas_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started(monkeypatch, {("DELETE", "/networks/n1"): ""}) as one:
        pass
    assert one.engine.asked("DELETE", "/networks/n1")
    async with started(monkeypatch) as one:
        one.runtime.launch(order())
        await settled(lambda: one.heard.addresses)
    assert not one.engine.asked("DELETE")


async def test_before_the_start_it_says_so(tmp_path: Path) -> None:
    provider = create_docker_provider(ServeSettings(home=tmp_path), {})
    with pytest.raises(ProviderUnavailable, match="has not been started"):
        provider._runtime.stop("t1")
    assert (tmp_path / "installation").exists()
