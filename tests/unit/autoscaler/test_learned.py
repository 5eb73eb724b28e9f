"""What was learned of pauses, from one control process to the next."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from penstock.autoscaler import learned
from penstock.autoscaler.learned import MISSED_FOR, SAVE_EVERY, Learned, LearnedFile
from penstock.autoscaler.report import LearningNow
from penstock.core.idle import Idleness, Pauses
from penstock.testing.clock import FakeClock
from tests.unit.autoscaler.plant import KEY, Plant, plant

DEADLINE = 30.0
DEPLOYED = datetime(2025, 12, 31, 23, tzinfo=UTC)


def pauses(*gaps: float) -> Pauses:
    idleness = Idleness()
    for gap in gaps:
        idleness.note_gap(gap)
    return idleness.pauses


HOURLY = pauses(*[3600.0] * 8)
MINUTES = pauses(*[60.0] * 8)


class Life:
    """A control process, as far as its file goes."""

    def __init__(self, path: Path, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.path = path
        self.clock = FakeClock(start)
        self.file = LearnedFile(path, self.clock)
        self.file.load()
        self.known: dict[str, Learned] = {}

    def read(self) -> dict[str, Pauses]:
        """What another process would find now."""
        other = LearnedFile(self.path, self.clock)
        other.load()
        return {key: found for key in ("a.dev", "b.dev", KEY) if (found := other.take(key, DEPLOYED))}

    async def until(self, met: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not met():  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@asynccontextmanager
async def living(path: Path, **more: datetime) -> AsyncIterator[Life]:
    life = Life(path, **more)
    task = asyncio.create_task(life.file.keep(lambda: life.known))
    await life.clock.settle()
    try:
        yield life
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "learned.json"


async def test_what_was_learned_is_there_for_the_next_process(path: Path) -> None:
    async with living(path) as life:
        life.known = {"a.dev": Learned(DEPLOYED, HOURLY), "b.dev": Learned(DEPLOYED, MINUTES)}
    assert Life(path).read() == {"a.dev": HOURLY, "b.dev": MINUTES}
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == [path.name]


async def test_a_process_that_is_killed_loses_what_it_learned_since_the_last_period(path: Path) -> None:
    async with living(path) as life:
        life.known = {"a.dev": Learned(DEPLOYED, MINUTES)}
        await life.clock.advance(SAVE_EVERY - 1)
        assert not path.exists()
        await life.clock.advance(1)
        await life.until(lambda: life.read() == {"a.dev": MINUTES})
        life.known = {"a.dev": Learned(DEPLOYED, HOURLY)}
        await life.until(lambda: life.clock.sleepers)
        await life.clock.advance(SAVE_EVERY)
        await life.until(lambda: life.read() == {"a.dev": HOURLY})


async def test_nothing_is_written_where_nothing_is_new(path: Path) -> None:
    async with living(path):
        pass
    assert not path.exists()
    async with living(path) as life:
        life.known = {"a.dev": Learned(DEPLOYED, MINUTES), "b.dev": Learned(DEPLOYED, Pauses())}
    assert list(json.loads(path.read_bytes())["functions"]) == ["a.dev"]
    before = path.stat()
    async with living(path):
        pass
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_what_nobody_has_taken_is_kept_for_a_while(path: Path) -> None:
    """An engine may be away, and with it every function."""
    async with living(path) as life:
        life.known = {"a.dev": Learned(DEPLOYED, MINUTES), "b.dev": Learned(DEPLOYED, MINUTES)}
    later = datetime(2026, 1, 1, tzinfo=UTC) + MISSED_FOR
    async with living(path, start=later) as life:
        assert life.file.take("a.dev", DEPLOYED) == MINUTES
        life.known = {"a.dev": Learned(DEPLOYED, HOURLY)}
    assert life.read() == {"a.dev": HOURLY, "b.dev": MINUTES}
    async with living(path, start=later + timedelta(days=1)) as life:
        life.known = {}
    assert life.read() == {"a.dev": HOURLY}


def test_a_function_of_the_same_name_deployed_later_has_learned_nothing(path: Path) -> None:
    text = {"deployed": DEPLOYED.isoformat(), "seen": "2026-01-01", "pauses": {"seen": 8, "weights": {"3": 7.5}}}
    path.write_text(json.dumps({"version": 1, "functions": {"a.dev": text, "b.dev": text}}))
    life = Life(path)
    assert life.file.take("a.dev", DEPLOYED + timedelta(seconds=1)) is None
    assert life.file.take("a.dev", DEPLOYED) is None
    assert life.file.take("b.dev", DEPLOYED) == Pauses(8, {3: 7.5})


ENTRY = b'{"deployed":"2025-12-31T23:00:00Z","seen":"2026-01-01","pauses":{"seen":8,"weights":{"3":%s}}}'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 5000,
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"functions: none",
        b'{"version":2,"functions":{}}',
        b'{"functions":{}}',
        b'{"version":1,"functions":{"a.dev":{}}}',
        b'{"version":1,"functions":{"a.dev":%s}}' % (ENTRY % b"-1"),
        b'{"version":1,"functions":{"a.dev":%s}}' % (ENTRY % b"1e999"),
        b'{"version":1,"functions":{"":%s}}' % (ENTRY % b"1"),
        b'{"version":1,"functions":{"a.dev":%s' % (ENTRY % b"1"),
    ],
    ids=range(13),
)
async def test_a_damaged_or_foreign_file_is_set_aside_with_a_warning(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(content)
    async with living(path) as life:
        [warning] = caplog.records
        assert warning.levelno == logging.WARNING
        assert f"{path} cannot be used" in warning.getMessage()
        assert len(warning.getMessage()) < 700
        life.known = {"a.dev": Learned(DEPLOYED, MINUTES)}
    assert life.read() == {"a.dev": MINUTES}
    assert path.with_name("learned.json.unusable").read_bytes() == content


@pytest.mark.parametrize("kind", ["folder", "pipe", "long"])
async def test_what_is_no_file_of_ours_is_neither_waited_for_nor_lost(
    path: Path, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        monkeypatch.setattr(learned, "MOST_BYTES", 1000)
        path.write_bytes(b" " * 1001)
    async with living(path) as life:
        assert "cannot be used" in caplog.text
        life.known = {"a.dev": Learned(DEPLOYED, MINUTES)}
    assert life.read() == {"a.dev": MINUTES}
    assert path.with_name("learned.json.unusable").exists()


async def test_a_file_that_cannot_be_written_is_told_once_until_it_can_be(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = path.parent / "gone"
    async with living(folder / path.name) as life:
        life.known = {"a.dev": Learned(DEPLOYED, MINUTES)}
        for _ in range(3):
            await life.until(lambda: life.clock.sleepers)
            await life.clock.advance(SAVE_EVERY)
        await life.until(lambda: life.clock.sleepers)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "cannot be kept" in caplog.text
        folder.mkdir()
    assert life.read() == {"a.dev": MINUTES}
    assert os.listdir(folder) == [path.name]


async def test_the_last_save_waits_for_one_under_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    replace = learned._replace

    def slow(path: Path, content: bytes) -> None:
        if not begun.is_set():
            begun.set()
            assert go_on.wait(DEADLINE)
        replace(path, content)

    monkeypatch.setattr(learned, "_replace", slow)
    async with living(path) as life:
        life.known = {"a.dev": Learned(DEPLOYED, MINUTES)}
        await life.clock.advance(SAVE_EVERY)
        await life.until(begun.is_set)
        life.known = {"a.dev": Learned(DEPLOYED, HOURLY)}
        asyncio.get_running_loop().call_later(0.05, go_on.set)
    assert life.read() == {"a.dev": HOURLY}


# The scaler


async def call_each(p: Plant, seconds: int, times: int) -> None:
    for _ in range(times):
        await p.seconds(seconds - 1)
        if not p.desired():
            await p.wake()
        await p.second(rps=1, inflight=0.1)


async def test_a_function_goes_on_to_rest_as_learned_after_control_has_started_anew(path: Path) -> None:
    clock = FakeClock()
    async with plant(learned=LearnedFile(path, clock)) as p:
        await p.deploy(zero="true", learn="auto")
        await call_each(p, 40, 10)
        rests_after = p.scaler.report(KEY).rests_after
        assert rests_after is not None
        assert 40 < rests_after < 60

        keeping = asyncio.create_task(LearnedFile(path, clock).keep(p.scaler.learned))
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        file = LearnedFile(path, clock)
        file.load()
        p.scaler = p.new_scaler(type(p.sources)(learned=file))
        assert p.scaler.report(KEY).rests_after == rests_after
        seen = await p.seconds(60)
        assert (seen[0], seen[-1]) == (1, 0)


async def test_only_functions_that_want_it_are_learned(path: Path) -> None:
    async with plant() as p:
        await p.deploy(zero="true", learn="auto")
        await p.deploy("plain", zero="true")
        await call_each(p, 40, 3)
        await p.seconds(3, rps=1, key="plain.openfaas-fn")
        assert list(p.scaler.learned()) == [KEY]


async def test_an_update_keeps_what_was_learned_and_counts_its_own_usual_time() -> None:
    async with plant() as p:
        await p.deploy(zero="true", learn="auto", zero_after="700s")
        await call_each(p, 40, 4)
        before = p.scaler.learned()[KEY]
        assert p.scaler.report(KEY).rests_after == 700
        await p.update(zero="true", learn="auto", zero_after="800s")
        await p.second()
        assert p.scaler.report(KEY).rests_after == 800
        assert p.scaler.learned()[KEY] == before


async def test_how_far_learning_is_is_told() -> None:
    async with plant() as p:
        await p.deploy(zero="true", learn="auto")
        await p.deploy("plain", zero="true")
        await call_each(p, 40, 4)
        assert p.scaler.report(KEY).learning == LearningNow(pauses=3, needed=8)
        await call_each(p, 40, 10)
        assert p.scaler.report(KEY).learning == LearningNow(pauses=8, needed=8)
        assert p.scaler.report("plain.openfaas-fn").learning is None
