"""What is kept of functions at zero."""

from __future__ import annotations

from penstock.providers.containers.entry import Entry
from penstock.providers.containers.kept import Shelf, digest_of, keep
from tests.unit.providers.containers.makings import order, running


async def test_it_fits_only_what_is_the_same_in_all_that_matters() -> None:
    kept = keep(running(order("t1")), "pause")
    assert kept.fits(order("t2", secrets={"key": b"newer"}))
    for other in (order(generation=2), order(deployed="tomorrow"), order(image="web:2")):
        assert not kept.fits(other)


async def test_a_replica_is_lent_what_is_known() -> None:
    kept = keep(running(), "pause")
    entry = Entry(order("t2"))
    kept.lend(entry)
    assert (entry.container, entry.address, entry.stage) == ("c1", "10.0.0.2:8080", "waking")
    assert entry.record == kept.record


async def test_secrets_are_compared_and_not_kept() -> None:
    with_secret = keep(running(order(secrets={"key": b"hush"})), "stop")
    assert "hush" not in repr(with_secret)
    assert with_secret.secrets == digest_of({"key": b"hush"})


async def test_those_of_a_container_that_was_found_are_unknown() -> None:
    entry = running()
    entry.found = True
    assert keep(entry, "pause").secrets == ""


def test_digests_tell_names_from_values() -> None:
    assert len({digest_of(one) for one in ({"a": b"bc"}, {"ab": b"c"}, {"a": b"", "b": b"c"}, {})}) == 4


async def test_one_container_is_kept_for_a_function() -> None:
    shelf = Shelf()
    first, second = keep(running(container="c1"), "pause"), keep(running(container="c2"), "pause")
    assert shelf.put("f", first) is None
    assert shelf.put("f", second) is first
    assert (shelf.key_of("c2"), shelf.key_of("c1"), list(shelf)) == ("f", "", ["f"])
    assert shelf.take("f") is second
    assert shelf.take("f") is None
