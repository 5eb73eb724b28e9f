"""Which ended containers are kept for their logs."""

from __future__ import annotations

from penstock.providers.containers.remains import Remains, Remnant


def test_a_function_keeps_its_latest_few() -> None:
    remains = Remains(kept=2)
    gone = [remains.add("f", Remnant(container, "f-1")) for container in "abcd"]
    assert gone == [[], [], ["a"], ["b"]]
    assert [one.container for one in remains.of("f")] == ["c", "d"]
    assert remains.add("g", Remnant("e", "g-1")) == []
    assert sorted(remains) == ["c", "d", "e"]


def test_those_of_replicas_that_are_still_there_stay() -> None:
    remains = Remains()
    remains.add("f", Remnant("a", "f-1"))
    remains.add("f", Remnant("b", "f-2"))
    assert remains.drop("f", keep={"f-2"}) == ["a"]
    assert remains.drop("f") == ["b"]
    assert remains.drop("f") == []


def test_all_go_at_the_end() -> None:
    remains = Remains()
    remains.add("f", Remnant("a", "f-1"))
    remains.add("g", Remnant("b", "g-1"))
    assert sorted(remains.drop_all()) == ["a", "b"]
    assert list(remains) == []


def test_one_that_is_started_again_is_kept_no_longer() -> None:
    remains = Remains()
    remains.add("f", Remnant("a", "f-1"))
    remains.add("f", Remnant("b", "f-2"))
    remains.discard("a")
    remains.discard("unknown")
    assert list(remains) == ["b"]
