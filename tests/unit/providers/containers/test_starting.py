"""Starting one container, and what is left when that fails."""

from __future__ import annotations

import asyncio
import io
import tarfile
from datetime import UTC, datetime

import pytest

from penstock.errors import InvalidInput, PenstockError, ProviderUnavailable
from penstock.providers.containers import labels
from penstock.providers.containers.body import SECRETS
from penstock.providers.containers.engine import EngineRefused
from penstock.providers.containers.entry import Entry, Unwanted
from penstock.providers.containers.starting import Starter, address_of, time_of
from tests.unit.providers.containers.makings import inspected, order, scripted, tools


def quiet(words: str) -> None:
    """Nobody listens."""


async def test_a_container_is_created_started_and_asked_for_its_address() -> None:
    engine, entry = scripted(), Entry(order())
    await Starter(tools(engine)).start(entry, quiet)
    assert [call.path for call in engine.asked("POST")] == ["/containers/create", "/containers/c1/start"]
    assert (entry.stage, entry.container, entry.address, entry.pid) == ("running", "c1", "10.0.0.2:8080", 7)
    assert entry.started_at == datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)


async def test_secrets_are_there_before_the_program_starts() -> None:
    engine, entry = scripted(), Entry(order(secrets={"key": b"hush"}))
    await Starter(tools(engine)).start(entry, quiet)
    methods = [call.method for call in engine.calls]
    assert methods.index("PUT") < methods.index("POST", methods.index("PUT"))
    with tarfile.open(fileobj=io.BytesIO(engine.archives[f"c1:{SECRETS}"])) as archive:
        assert archive.getnames() == ["key"]
    assert "hush" not in str(engine.asked("POST"))


async def test_a_step_that_fails_leaves_no_container() -> None:
    engine = scripted({("POST", "/containers/c1/start"): EngineRefused(400, "exec: serve: not found")})
    with pytest.raises(PenstockError, match="cannot be started: exec: serve: not found"):
        await Starter(tools(engine)).start(Entry(order()), quiet)
    [removed] = engine.asked("DELETE")
    assert (removed.path, removed.params) == ("/containers/c1", {"force": "true", "v": "true"})


async def test_an_engine_that_goes_away_meanwhile_is_said() -> None:
    engine = scripted({("POST", "/containers/c1/start"): ProviderUnavailable("gone")})
    with pytest.raises(ProviderUnavailable, match="gone"):
        await Starter(tools(engine)).start(Entry(order()), quiet)


async def test_what_cannot_work_is_said_before_there_is_a_container() -> None:
    engine = scripted()
    with pytest.raises(InvalidInput, match="envProcess"):
        await Starter(tools(engine)).start(
            Entry(order(env_process="cat", labels={"com.penstock.http-port": "80"})), quiet
        )
    assert not engine.asked("POST")


async def test_a_network_that_is_gone_is_made_before_the_next_start() -> None:
    engine = scripted({("POST", "/containers/c1/start"): EngineRefused(404, "network net not found")})
    starter = Starter(tools(engine))
    for _ in range(2):
        with pytest.raises(PenstockError, match="network net not found"):
            await starter.start(Entry(order()), quiet)
    assert len(engine.asked("GET", "/networks/net")) == 2


async def test_who_is_told_to_end_while_it_waits_starts_nothing() -> None:
    engine, entry = scripted(), Entry(order())
    waits = asyncio.Event()

    async def never(*_: object) -> None:
        waits.set()
        await asyncio.Event().wait()

    parts = tools(engine)
    parts.network.ensure = never  # type: ignore[method-assign]
    starting = asyncio.create_task(Starter(parts).start(entry, quiet))
    await waits.wait()
    entry.ask(kill=True)
    with pytest.raises(Unwanted):
        await starting
    assert not engine.asked("POST")


async def test_who_is_told_to_end_while_it_is_created_is_removed() -> None:
    entry = Entry(order())

    def create(_: object) -> object:
        entry.ask(kill=True)
        return {"Id": "c1"}

    engine = scripted({("POST", "/containers/create"): create})
    with pytest.raises(Unwanted):
        await Starter(tools(engine)).start(entry, quiet)
    assert engine.asked("DELETE", "/containers/c1")
    assert not engine.asked("POST", "/containers/c1/start")


async def test_a_name_that_a_stranger_has_stays_his() -> None:
    taken = [EngineRefused(409, "in use"), {"Id": "c1"}]
    stranger = inspected("s1")
    stranger["Config"]["Labels"] = {labels.OWNER: "another"}
    engine = scripted(
        {
            ("POST", "/containers/create"): lambda _: taken.pop(0),
            ("GET", "/containers/penstock-f-t1/json"): stranger,
        }
    )
    entry = Entry(order())
    await Starter(tools(engine)).start(entry, quiet)
    assert entry.name.startswith("penstock-f-t1-")
    assert not engine.asked("DELETE")


async def test_a_name_that_an_earlier_try_of_ours_has_is_free_again() -> None:
    taken = [EngineRefused(409, "in use"), {"Id": "c1"}]
    engine = scripted(
        {
            ("POST", "/containers/create"): lambda _: taken.pop(0),
            ("GET", "/containers/penstock-f-t1/json"): inspected("lost"),
            ("DELETE", "/containers/lost"): "",
        }
    )
    entry = Entry(order())
    await Starter(tools(engine)).start(entry, quiet)
    assert entry.name == "penstock-f-t1"
    assert engine.asked("DELETE", "/containers/lost")


async def test_a_container_that_has_ended_already_has_no_address() -> None:
    engine = scripted({("GET", "/containers/c1/json"): inspected(Running=False)})
    entry = Entry(order())
    await Starter(tools(engine)).start(entry, quiet)
    assert entry.address == ""
    assert entry.ended.done()


async def test_only_so_many_start_at_the_same_time() -> None:
    engine = scripted()
    busy, most = 0, 0

    def start(_: object) -> object:
        nonlocal busy, most
        busy, most = busy + 1, max(most, busy + 1)
        return ""

    def inspect(_: object) -> object:
        nonlocal busy
        busy -= 1
        return inspected()

    engine.answers["POST", "/containers/c1/start"] = start
    engine.answers["GET", "/containers/c1/json"] = inspect
    starter = Starter(tools(engine), at_once=2)
    await asyncio.gather(*(starter.start(Entry(order(f"t{number}")), quiet) for number in range(6)))
    assert most == 2


@pytest.mark.parametrize("code", [404, 409])
async def test_what_is_gone_or_going_counts_as_removed(code: int) -> None:
    starter = Starter(tools(scripted({("DELETE", "/containers/c1"): EngineRefused(code, "no")})))
    assert await starter.remove("c1")
    assert await starter.remove("")


@pytest.mark.parametrize("error", [EngineRefused(500, "busy"), ProviderUnavailable("away")])
async def test_what_cannot_be_removed_is_not(error: Exception) -> None:
    assert not await Starter(tools(scripted({("DELETE", "/containers/c1"): error}))).remove("c1")


def test_published_ports_are_called_at_the_engines_host() -> None:
    document = inspected()
    document["NetworkSettings"]["Ports"] = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}], "81/tcp": None}
    parts = tools(scripted(), host="192.0.2.7")
    assert address_of(document, parts, 80) == "192.0.2.7:32768"
    with pytest.raises(PenstockError, match="port 81 is not published"):
        address_of(document, parts, 81)


def test_without_an_address_it_is_said_which_network_is_missing() -> None:
    with pytest.raises(PenstockError, match="not connected to network net"):
        address_of(inspected(address=""), tools(scripted()), 80)


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05.123456789Z", "2026-01-02T05:04:05.123456+02:00"])
def test_an_engines_times_have_more_digits_than_ours(text: str) -> None:
    assert time_of(text) == datetime(2026, 1, 2, 3, 4, 5, 123456, UTC)
