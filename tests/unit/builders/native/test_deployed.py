"""Builds that are deployed stay, by the rules of `penstock.builders.native.deployed`."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.builders.native.deployed import FOLDER, UNSURE, Deployed
from penstock.builders.native.store import KEEP, Record, Store
from penstock.errors import InvalidInput, NotFound

HERE = "http://127.0.0.1:8080\0\0fn"
THERE = "http://127.0.0.1:9090\0staging\0fn"


class Builds:
    """A store with builds of the function `fn`, named by letters."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)
        self.deployed = Deployed(root)
        self.parent = self.store.function("fn")

    def make(self, letters: str) -> None:
        """Each newer than all before it."""
        for letter in letters:
            with self.store.locked(self.parent, lambda: None):
                self.store.make(self.parent, letter * 40, lambda folder: Record())
                self.store.prune(self.parent)

    def path(self, letter: str) -> Path:
        return self.parent / (letter * 40)

    def hold(self, letter: str, place: str = HERE, now: float = 0.0) -> None:
        self.deployed.hold(self.path(letter), place, now)

    def settle(self, letter: str, place: str = HERE) -> None:
        self.deployed.settle(self.path(letter), place)

    @property
    def held(self) -> str:
        with self.deployed.held("fn") as names:
            return "".join(sorted(name[0] for name in names))

    @property
    def there(self) -> str:
        return "".join(sorted(path.name[0] for path in self.parent.iterdir() if path.is_dir()))


@pytest.fixture
def builds(tmp_path: Path) -> Builds:
    return Builds(tmp_path / "builds")


def test_only_the_newest_stay_when_nothing_is_deployed(builds: Builds) -> None:
    builds.make("abcde")
    assert builds.there == "cde"
    assert len(builds.there) == KEEP


def test_a_deployed_build_stays_however_many_follow(builds: Builds) -> None:
    builds.make("a")
    builds.hold("a")
    builds.settle("a")
    builds.make("bcdef")
    assert builds.there == "adef"


def test_each_gateway_and_namespace_keeps_its_own(builds: Builds) -> None:
    builds.make("ab")
    builds.hold("a", THERE)
    builds.settle("a", THERE)
    for letter in "bcdef":
        if letter != "b":
            builds.make(letter)
        builds.hold(letter)
        builds.settle(letter)
    assert builds.held == "aef"
    assert builds.there == "adef"


def test_what_ran_before_stays_until_another_is_ready(builds: Builds) -> None:
    builds.make("abcd")
    builds.make("a")  # it was pruned, and is built again
    builds.hold("a")
    builds.settle("a")
    for letter in "bcd":
        if not builds.path(letter).exists():
            builds.make(letter)
        builds.hold(letter, now=1.0)  # none of which becomes ready
    assert builds.held == "abcd"
    builds.hold("d", now=2.0)
    builds.settle("d")
    assert builds.held == "ad"


def test_who_never_waits_keeps_what_was_followed_not_long_ago(builds: Builds) -> None:
    builds.make("abc")
    builds.hold("a", now=0.0)
    builds.hold("b", now=5 * UNSURE)  # a has run for days until now
    assert builds.held == "ab"
    builds.hold("c", now=7 * UNSURE)
    assert builds.held == "bc"


def test_a_build_that_is_gone_cannot_be_deployed(builds: Builds) -> None:
    with pytest.raises(NotFound, match="build again"):
        builds.hold("a")


def test_a_record_that_cannot_be_read_takes_nothing_away(builds: Builds) -> None:
    builds.make("a")
    builds.hold("a")
    [record] = [path for path in (builds.store.root / FOLDER / "fn").iterdir() if path.name != ".lock"]
    record.write_text("[")
    with pytest.raises(InvalidInput, match="cannot be read"):
        builds.make("bcd")
    assert builds.path("a").is_dir()


def test_builds_are_found_in_what_is_deployed(builds: Builds) -> None:
    root = builds.store.root
    build = builds.path("a")
    again = build.with_name(f"{build.name}-17")
    texts = (f"sh {build}/run.sh", f"/usr:{again}", f"{root}/.shared/venvs/{'a' * 40}", f"{root}x/fn/{'a' * 40}", "cat")
    assert builds.deployed.builds_in(texts) == [build, again]
