"""What an engine has of this installation."""

from __future__ import annotations

from penstock.providers.containers import labels
from penstock.providers.containers.adopting import find_all, found_of
from tests.unit.providers.containers.makings import listed, order
from tests.unit.providers.containers.scripted import ScriptedEngine


async def test_only_what_has_our_own_mark_is_seen_whatever_the_engine_lists() -> None:
    ours = listed(order())
    others = [{**ours, "Id": "x", "Labels": {labels.OWNER: "another"}}, {"Id": "y", "Labels": None}, {"Id": "z"}]
    engine = ScriptedEngine({("GET", "/containers/json"): [ours, *others]})
    assert [one.container for one in await find_all(engine, "mine")] == ["c1"]
    [asked] = engine.calls
    assert asked.params == {"all": "true", "filters": {"label": [f"{labels.OWNER}=mine"]}}


async def test_a_running_container_is_a_replica_again() -> None:
    entry = found_of(listed(order("t7"))).entry()
    assert entry
    assert (entry.order, entry.container, entry.stage, entry.found) == (order("t7"), "c1", "running", True)


async def test_a_frozen_one_too_and_none_that_has_ended() -> None:
    assert found_of(listed(order(), state="paused")).entry()
    for state in ("created", "exited", "dead", "removing", ""):
        assert found_of(listed(order(), state=state)).entry() is None


async def test_a_helper_is_no_replica() -> None:
    document = listed(order())
    document["Labels"][labels.KIND] = "helper"
    found = found_of(document)
    assert (found.replica, found.token, found.entry()) == (False, "", None)


async def test_an_order_that_cannot_be_read_is_none() -> None:
    document = listed(order())
    document["Labels"][labels.ORDER] = '{"order": {"token": 7}}'
    found = found_of(document)
    assert (found.replica, found.token, found.entry()) == (True, "", None)
