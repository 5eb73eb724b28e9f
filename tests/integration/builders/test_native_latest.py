"""The last build is found again without repeating the flags that it was made with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.builders.model import Built
from tests.integration.builders.workplace import Workplace


@pytest.fixture
def place(project: Path) -> Workplace:
    workplace = Workplace(project, fprocess="sh {function}/run.sh")
    workplace.handler({"run.sh": "cat\n"})
    (project / "shared").write_text("s")
    return workplace


def latest(place: Workplace, **fields: Any) -> Built | None:
    return place.builder().latest(place.request(**fields))


def test_the_flags_of_the_last_build_are_remembered(place: Workplace) -> None:
    assert latest(place) is None
    plain = place.build()
    flagged = place.build(build_args={"TOKEN": "secret"}, copy=(place.here / "shared",))
    assert flagged.folder != plain.folder
    found = latest(place)
    assert found is not None and found.folder == flagged.folder
    place.build()
    found = latest(place)
    assert found is not None and found.folder == plain.folder


@pytest.mark.parametrize("changed", ["fn/run.sh", "shared"])
def test_other_sources_are_another_build(place: Workplace, changed: str) -> None:
    place.build(build_args={"TOKEN": "secret"}, copy=(place.here / "shared",))
    (place.here / changed).write_text("changed")
    assert latest(place) is None


def test_values_of_build_arguments_are_not_kept(place: Workplace) -> None:
    place.build(build_args={"TOKEN": "top-secret"})
    kept = [path for path in place.builds.rglob("*") if path.is_file() and b"top-secret" in path.read_bytes()]
    assert kept == []


def test_a_last_build_that_is_gone_is_not_found(place: Workplace) -> None:
    flagged = place.build(build_args={"TOKEN": "x"})
    for letter in "abc":
        place.handler({"run.sh": letter})
        place.build()
    place.handler({"run.sh": "cat\n"})
    assert flagged.folder is not None and not flagged.folder.exists()
    assert latest(place) is None
