"""A mirror has what the cluster has, through everything that happens to watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any, cast

import pytest

from penstock.errors import PenstockError
from penstock.providers.kubernetes.client.api import Api, Document, Listing, WatchEvent
from penstock.providers.kubernetes.client.errors import ApiGone, ApiUnavailable
from penstock.providers.kubernetes.client.kinds import POD, Kind
from penstock.providers.kubernetes.mirror import LONGEST_PAUSE, Mirror, Place
from penstock.testing.clock import FakeClock


def pod(name: str, version: int, namespace: str = "n", uid: str = "1", **fields: Any) -> Document:
    metadata = {"name": name, "namespace": namespace, "resourceVersion": str(version), "uid": f"{name}-{uid}"}
    return {"metadata": metadata, **fields}


def leaving(document: Document) -> Document:
    return {**document, "metadata": {**document["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


class Cluster:
    """Lists and watches of pods; a test says what a list has, and what a watch tells."""

    def __init__(self) -> None:
        self.listed: dict[str | None, list[Document]] = {None: []}
        self.version = 1
        self.listing = asyncio.Event()
        """Lists are answered when it is set."""
        self.listing.set()
        self.fault: PenstockError | None = None
        """Of every list and watch, while there is one."""
        self.lists = 0
        self.watched_from: list[str] = []
        self.events: asyncio.Queue[WatchEvent | PenstockError | None] = asyncio.Queue()

    async def list(self, kind: Kind, namespace: str | None, labels: Mapping[str, str]) -> Listing:
        self.lists += 1
        if self.fault:
            raise self.fault
        listing = Listing(list(self.listed.get(namespace, [])), str(self.version))
        await self.listing.wait()
        return listing

    async def watch(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str], version: str
    ) -> AsyncGenerator[WatchEvent, None]:
        self.watched_from.append(version)
        while True:
            if self.fault:
                raise self.fault
            event = await self.events.get()
            if event is None:
                return
            if isinstance(event, PenstockError):
                raise event
            yield event


class Seen:
    """A mirror of a cluster, and what it has told."""

    def __init__(self, namespaces: list[str] | None = None) -> None:
        self.cluster, self.clock = Cluster(), FakeClock()
        self.mirror = Mirror(cast(Api, self.cluster), POD, {"a": "b"}, self.clock, namespaces)
        self.told: list[Place] = []
        self.mirror.follow(self.told.append)

    @property
    def names(self) -> list[str]:
        return sorted(name for _, name in self.mirror.items)

    async def tell(self, event: WatchEvent | PenstockError | None) -> None:
        self.cluster.events.put_nowait(event)
        await self.clock.settle()

    async def later(self) -> None:
        """Long enough for any pause between two attempts."""
        await self.clock.advance(LONGEST_PAUSE * 2)


@pytest.fixture
async def seen() -> AsyncIterator[Seen]:
    seen = Seen()
    seen.cluster.listed[None] = [pod("a", 1)]
    seen.mirror.start()
    await seen.clock.settle()
    yield seen
    await seen.mirror.close()


async def test_it_has_what_was_listed_and_what_a_watch_tells(seen: Seen) -> None:
    await asyncio.wait_for(seen.mirror.synced(), 10)
    assert (seen.names, seen.told) == (["a"], [("n", "a")])
    await seen.tell(WatchEvent("ADDED", pod("b", 2)))
    await seen.tell(WatchEvent("MODIFIED", pod("a", 3, x=1)))
    assert (seen.names, seen.mirror.items["n", "a"]["x"]) == (["a", "b"], 1)
    await seen.tell(WatchEvent("DELETED", pod("a", 4)))
    assert (seen.names, seen.told[-1]) == (["b"], ("n", "a"))


async def test_a_watch_that_ends_goes_on_where_it_was(seen: Seen) -> None:
    await seen.tell(WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "50"}}))
    await seen.tell(None)
    await seen.later()
    assert (seen.cluster.watched_from, seen.cluster.lists) == (["1", "50"], 1)


async def test_a_version_that_is_gone_is_a_new_list(seen: Seen) -> None:
    seen.cluster.listed[None], seen.cluster.version = [pod("c", 60)], 60
    await seen.tell(ApiGone("too old", 410))
    await seen.later()
    assert (seen.names, seen.cluster.watched_from) == (["c"], ["1", "60"])
    assert set(seen.told) == {("n", "a"), ("n", "c")}


async def test_what_a_new_list_does_not_change_is_not_told_again(seen: Seen) -> None:
    await seen.tell(ApiGone("too old", 410))
    await seen.later()
    assert seen.told == [("n", "a")]


async def test_while_the_api_server_is_away_all_stays_as_it_was(seen: Seen) -> None:
    seen.cluster.fault = ApiUnavailable("gone for a while")
    await seen.tell(ApiUnavailable("cut"))
    await seen.later()
    assert (seen.names, seen.mirror.behind) == (["a"], "gone for a while")
    tries = seen.cluster.lists
    await seen.clock.advance(60)
    assert seen.cluster.lists - tries <= 60 / (LONGEST_PAUSE * 0.8) + 1, "it is asked less and less often"
    seen.cluster.fault, seen.cluster.listed[None] = None, [pod("b", 9)]
    await seen.later()
    assert (seen.names, seen.mirror.behind) == (["b"], "")


async def test_an_answer_to_our_own_write_is_seen_at_once_and_an_older_one_passed_over(seen: Seen) -> None:
    seen.mirror.note(pod("a", 10, x="new"))
    seen.mirror.note(pod("a", 9, x="old"))
    seen.mirror.note(pod("b", 11))
    assert (seen.mirror.items["n", "a"]["x"], seen.names) == ("new", ["a", "b"])
    seen.mirror.forget(("n", "a"), "a-1")
    assert seen.names == ["b"]


async def test_only_the_namespaces_that_are_wanted_are_asked_for() -> None:
    seen = Seen(["one", "two"])
    seen.cluster.listed = {"one": [pod("a", 1, "one")], "two": [pod("b", 1, "two")], "three": [pod("c", 1, "three")]}
    seen.mirror.start()
    await asyncio.wait_for(seen.mirror.synced(), 10)
    assert set(seen.mirror.items) == {("one", "a"), ("two", "b")}
    await seen.mirror.close()


async def test_an_event_that_is_older_than_our_own_write_changes_nothing(seen: Seen) -> None:
    seen.mirror.note(pod("a", 10, x="new"))
    await seen.tell(WatchEvent("MODIFIED", pod("a", 9, x="old")))
    assert seen.mirror.items["n", "a"]["x"] == "new"
    await seen.tell(WatchEvent("MODIFIED", pod("a", 11, x="newest")))
    assert seen.mirror.items["n", "a"]["x"] == "newest"


# What we have done ourselves, and what comes from before.


async def test_what_was_deleted_does_not_come_back_by_an_event_from_before(seen: Seen) -> None:
    seen.mirror.forget(("n", "a"), "a-1")
    await seen.tell(WatchEvent("MODIFIED", pod("a", 5)))
    assert seen.names == []
    seen.mirror.note(pod("a", 6))  # a change of ours that was answered late
    assert seen.names == []
    await seen.tell(WatchEvent("DELETED", pod("a", 7)))
    await seen.tell(WatchEvent("ADDED", pod("a", 8, uid="2")))
    assert seen.names == ["a"]


async def test_what_was_deleted_and_cannot_end_yet_is_there_as_leaving(seen: Seen) -> None:
    seen.mirror.forget(("n", "a"), "a-1")
    await seen.tell(WatchEvent("MODIFIED", leaving(pod("a", 5))))
    assert "deletionTimestamp" in seen.mirror.items["n", "a"]["metadata"]
    await seen.tell(WatchEvent("DELETED", leaving(pod("a", 6))))
    assert seen.names == []


async def test_the_end_of_one_does_not_take_the_next_of_its_name_with_it(seen: Seen) -> None:
    seen.mirror.forget(("n", "a"), "a-1")
    seen.mirror.note(pod("a", 20, uid="2"))
    await seen.tell(WatchEvent("MODIFIED", pod("a", 10)))
    await seen.tell(WatchEvent("DELETED", pod("a", 11)))
    assert seen.mirror.items["n", "a"]["metadata"]["uid"] == "a-2"
    seen.mirror.forget(("n", "a"), "a-1")
    assert seen.names == ["a"], "what was to be forgotten is gone already"


async def test_a_late_answer_does_not_bring_back_what_others_have_deleted(seen: Seen) -> None:
    await seen.tell(WatchEvent("ADDED", pod("b", 10)))
    await seen.tell(WatchEvent("DELETED", pod("b", 11)))
    seen.mirror.note(pod("b", 10))
    assert seen.names == ["a"]


async def test_a_list_from_before_undoes_no_change_of_ours(seen: Seen) -> None:
    seen.cluster.listed[None], seen.cluster.version = [pod("a", 1), pod("b", 2), pod("c", 3)], 3
    await seen.tell(ApiGone("too old", 410))
    await seen.later()
    seen.cluster.listing.clear()
    await seen.tell(ApiGone("too old", 410))
    await seen.later()
    assert seen.cluster.lists == 3, "one is on its way"
    seen.mirror.forget(("n", "a"), "a-1")
    seen.mirror.note(pod("b", 11, x="new"))
    seen.mirror.note(pod("d", 12))
    seen.cluster.listing.set()
    await seen.later()
    assert (seen.names, seen.mirror.items["n", "b"]["x"]) == (["b", "c", "d"], "new")


async def test_a_list_counts_whatever_its_versions_are(seen: Seen) -> None:
    """As after a store was restored from a copy: versions begin anew from there."""
    seen.mirror.note(pod("a", 1000))
    seen.mirror.note(pod("b", 1001))
    seen.mirror.forget(("n", "b"), "b-1")
    seen.cluster.listed[None], seen.cluster.version = [pod("a", 500, x="restored"), pod("b", 400)], 500
    await seen.tell(ApiGone("too old", 410))
    await seen.later()
    assert (seen.names, seen.mirror.items["n", "a"].get("x")) == (["a", "b"], "restored")
    seen.mirror.note(pod("a", 501, x="newer"))
    assert seen.mirror.items["n", "a"]["x"] == "newer"


async def test_answers_that_make_no_sense_are_told_of() -> None:
    seen = Seen()
    seen.cluster.listed[None] = [cast(Document, {"metadata": 1})]
    seen.mirror.start()
    await seen.clock.settle()
    assert "makes no sense" in seen.mirror.behind
    await seen.mirror.close()
