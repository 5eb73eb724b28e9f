"""The loop runs in one thread at a time, in which short calls are made as well, and a long one holds nobody up."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable

import pytest
import uvloop

from penstock.watchdog.baton import Baton
from penstock.watchdog.threads import Threads

LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


class Calls:
    """Calls that note the threads in which they were made; what a job returns is posted to the loop."""

    def __init__(self, baton: Baton, most: int = 4) -> None:
        self.threads: Threads[Callable[[], object]] = Threads(asyncio.get_running_loop(), most, self._work, baton)
        self.came: list[object] = []
        self.made_by: list[str] = []
        self.loops: list[str] = []

    def _work(self, job: Callable[[], object]) -> None:
        self.made_by.append(threading.current_thread().name)
        result = job()
        self.threads.post(lambda: self._arrived(result))

    def _arrived(self, result: object) -> None:
        self.loops.append(threading.current_thread().name)
        self.came.append(result)

    async def make(self, jobs: Iterable[Callable[[], object]]) -> None:
        """Submit one after the other, and wait for all of them."""
        wanted = len(self.came)
        async with asyncio.timeout(60):
            for job in jobs:
                wanted += 1
                self.threads.submit(job)
                while len(self.came) < wanted:  # noqa: ASYNC110
                    await asyncio.sleep(0)

    async def make_at_once(self, jobs: list[Callable[[], object]]) -> None:
        wanted = len(self.came) + len(jobs)
        for job in jobs:
            self.threads.submit(job)
        async with asyncio.timeout(60):
            while len(self.came) < wanted:  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def last(self, result: object = None) -> tuple[str, threading.Event]:
        """Have the thread of the loop make a call that lasts until the event is set: the name of that thread, which has lost the
        loop to another. Where calls have turned out slow meanwhile, as on a machine that does much else, another thread makes
        it; that one is let go, and the next tried."""
        while True:
            await self.become_short()
            before, made, came, gate = (
                threading.current_thread().name,
                len(self.made_by),
                len(self.came),
                threading.Event(),
            )
            self.threads.submit(lambda gate=gate: result if gate.wait(60) else None)  # type: ignore[misc]
            async with asyncio.timeout(60):
                while len(self.made_by) == made:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                if self.made_by[made] == before:
                    return before, gate
                gate.set()
                while len(self.came) == came:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            self.came.pop()

    async def become_short(self) -> None:
        """Make short calls until they are made by the thread of the loop."""
        async with asyncio.timeout(60):
            while not self.made_by or not self.made_by[-1].startswith("loop"):
                await self.make([lambda: None])


@pytest.mark.parametrize("loop", LOOPS)
def test_short_calls_come_to_be_made_by_the_thread_of_the_loop(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    baton = Baton()

    async def main() -> int:
        calls = Calls(baton)
        await calls.become_short()
        assert not calls.made_by[0].startswith("loop")
        assert calls.made_by[-1] == threading.current_thread().name
        await calls.make_at_once([lambda number=number: number for number in range(500)])  # type: ignore[misc]
        assert sorted(value for value in calls.came if isinstance(value, int)) == list(range(500))
        calls.threads.close()
        return 7

    assert baton.run(loop, main) == 7


@pytest.mark.parametrize("loop", LOOPS)
def test_a_call_that_lasts_loses_the_loop_to_another_thread(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    baton = Baton()

    async def main() -> int:
        calls = Calls(baton)
        before, gate = await calls.last(True)
        assert threading.current_thread().name != before  # which is in the call still
        await calls.make([lambda: "meanwhile"])
        assert calls.came[-1] == "meanwhile" and not gate.is_set()
        gate.set()
        async with asyncio.timeout(60):
            while True not in calls.came:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert set(calls.loops[-2:]) == {threading.current_thread().name}
        await calls.become_short()  # which takes a thread that could take over: the one that has come back
        calls.threads.close()
        return 0

    assert baton.run(loop, main) == 0


def test_the_loop_is_taken_over_again_and_again_and_nothing_is_lost() -> None:
    baton = Baton()

    async def main() -> int:
        calls = Calls(baton, most=3)
        numbers = [lambda number=number: number for number in range(20)]
        for turn in range(10):
            _, gate = await calls.last("gate")
            await calls.make_at_once(numbers)  # type: ignore[arg-type]
            gate.set()
            async with asyncio.timeout(60):
                while calls.came.count("gate") <= turn:  # noqa: ASYNC110
                    await asyncio.sleep(0)
        assert len(calls.came) - calls.came.count(None) == 210
        assert len({*calls.loops}) == 2
        calls.threads.close()
        return 0

    assert baton.run(uvloop.new_event_loop, main) == 0


def test_no_more_calls_run_at_once_than_there_may() -> None:
    baton, running, most = Baton(), 0, 0
    lock = threading.Lock()

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.01)
        with lock:
            running -= 1

    async def main() -> int:
        calls = Calls(baton, most=3)
        for _ in range(3):
            await calls.become_short()
            await calls.make_at_once([call] * 30)
        calls.threads.close()
        return 0

    assert baton.run(uvloop.new_event_loop, main) == 0
    assert 1 < most <= 3


def test_with_one_thread_no_call_is_made_by_that_of_the_loop() -> None:
    baton = Baton()

    async def main() -> int:
        calls = Calls(baton, most=1)
        await calls.make([lambda: None] * 100)
        assert not any(name.startswith("loop") for name in calls.made_by)
        calls.threads.close()
        return 0

    assert baton.run(uvloop.new_event_loop, main) == 0


def test_an_alarm_that_comes_late_does_not_keep_the_main_thread_awake() -> None:
    baton = Baton()

    async def heard() -> None:
        async with asyncio.timeout(60):
            while baton._alarm.is_set():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    async def main() -> int:
        async with asyncio.timeout(60):
            while not baton.ready:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        standby, baton._standby = baton._standby, None  # nobody to take over from the call, so that it lasts
        baton.enter(time.monotonic())
        await heard()
        baton._alarm.set()  # by a call that began just when the main thread took to looking
        await heard()
        baton.leave()
        baton._standby = standby
        return 0

    assert baton.run(uvloop.new_event_loop, main) == 0


def test_what_main_raises_is_raised() -> None:
    async def main() -> int:
        await asyncio.sleep(0)
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        Baton().run(uvloop.new_event_loop, main)


def test_tasks_that_are_left_are_cancelled() -> None:
    ended: list[str] = []

    async def endless() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.append("cancelled")

    async def main() -> int:
        main.task = asyncio.create_task(endless())  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        return 0

    assert Baton().run(uvloop.new_event_loop, main) == 0
    assert ended == ["cancelled"]


def test_sigterm_reaches_the_loop_while_a_call_blocks() -> None:
    source = """
import asyncio, os, signal, sys, threading, time, uvloop
from penstock.watchdog.baton import Baton
from penstock.watchdog.threads import Threads
baton = Baton()
async def main():
    stop = asyncio.Event()
    baton.terminated = stop.set
    threads = Threads(asyncio.get_running_loop(), 4, lambda job: job(), baton)
    threads._slowness = 0
    def block():
        print("blocks", flush=True)
        time.sleep(600)
    threads.submit(block)
    await stop.wait()
    return 5
code = baton.run(uvloop.new_event_loop, main)
os._exit(code)
"""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", source], env=environ, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"blocks\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 5
