"""Several builds at once, by a builder that does what the test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future

import pytest

from penstock.builders.many import Job, Outcome, build_many
from penstock.builders.model import BuildRequest, Built, Progress
from penstock.errors import BuildFailed, InvalidInput
from tests.unit.builders.requests import request


class Scripted:
    """A builder; `does` is called with each function's name."""

    name = "scripted"
    makes_images = False

    def __init__(self, does: Callable[[str], None] = lambda name: None) -> None:
        self._does = does
        self.cancelled = threading.Event()

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        name = request.function.name
        progress(f"at {name}")
        self._does(name)
        return Built(function=name)

    def cancel(self) -> None:
        self.cancelled.set()


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.workers: set[int] = set()

    def began(self, worker: int, name: str) -> None:
        self.workers.add(worker)
        self.lines.append(f"began {name}")

    def told(self, worker: int, name: str, words: str) -> None:
        self.lines.append(words)

    def ended(self, worker: int, outcome: Outcome, seconds: float) -> None:
        self.lines.append(f"ended {outcome.name} {'well' if outcome.built else 'badly'}")


def jobs(*names: str) -> list[Job]:
    return [Job(name=name, request=request(None, name)) for name in names]


def test_results_are_in_the_order_of_the_jobs_whatever_ends_first() -> None:
    last = threading.Event()

    def does(name: str) -> None:
        if name == "a":
            last.wait()
        else:
            last.set()

    outcomes = build_many(Scripted(does), jobs("a", "b"), 2, Heard())
    assert [outcome.name for outcome in outcomes] == ["a", "b"]


def test_a_failure_does_not_stop_the_others() -> None:
    def does(name: str) -> None:
        if name == "bad":
            raise BuildFailed("no", "words")
        if name == "disk":
            raise OSError(5, "Input/output error", "/x")

    heard = Heard()
    unplanned = Job(name="odd", fault=InvalidInput("it cannot be"))
    outcomes = build_many(Scripted(does), [*jobs("bad", "disk"), unplanned, *jobs("good")], 1, heard)
    assert [str(outcome.fault) if outcome.fault else "" for outcome in outcomes] == [
        "no", "/x: Input/output error", "it cannot be", "",
    ]  # fmt: skip
    assert heard.lines == [
        "began bad", "at bad", "ended bad badly",
        "began disk", "at disk", "ended disk badly",
        "began good", "at good", "ended good well",
    ]  # fmt: skip


def test_workers_are_numbered_from_one_and_no_more_than_asked_for() -> None:
    heard = Heard()
    build_many(Scripted(), jobs(*(f"f{number}" for number in range(20))), 3, heard)
    assert heard.workers <= {1, 2, 3}


def test_a_defect_is_not_taken_for_an_outcome() -> None:
    def does(name: str) -> None:
        raise KeyError(name)

    with pytest.raises(KeyError):
        build_many(Scripted(does), jobs("a"), 1, Heard())


def test_an_interruption_cancels_what_runs_and_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    started = threading.Event()

    def does(name: str) -> None:
        started.set()
        builder.cancelled.wait()

    builder = Scripted(does)

    def interrupted(futures: Sequence[Future[Outcome]]) -> None:
        started.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr("penstock.builders.many.wait", interrupted)
    heard = Heard()
    with pytest.raises(KeyboardInterrupt):
        build_many(builder, jobs("a", "b"), 1, heard)
    assert "began b" not in heard.lines


def test_an_interruption_while_jobs_are_still_handed_out_cancels_too() -> None:
    started = threading.Event()

    def does(name: str) -> None:
        started.set()
        builder.cancelled.wait()

    class Interrupted(list[Job]):
        def __iter__(self) -> Iterator[Job]:
            yield self[0]
            started.wait()
            raise KeyboardInterrupt

    builder, heard = Scripted(does), Heard()
    with pytest.raises(KeyboardInterrupt):
        build_many(builder, Interrupted(jobs("a", "b")), 2, heard)
    assert heard.lines == ["began a", "at a", "ended a well"]
