"""The pool of threads for handlers: nothing is lost on the way there or back, and nobody waits for a slow one."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable

import pytest

from penstock.watchdog.threads import Threads

Until = Callable[[Callable[[], object]], Awaitable[None]]


async def test_every_job_comes_back_however_long_it_takes(until: Until) -> None:
    came: list[int] = []

    def work(job: int) -> None:
        if job % 7 == 0:
            time.sleep(random.Random(job).uniform(0, 0.004))
        threads.post(lambda: came.append(job))

    threads: Threads[int] = Threads(asyncio.get_running_loop(), 4, work)
    for job in range(600):
        threads.submit(job)
        if job % 5 == 0:
            await asyncio.sleep(0)
        if job % 50 == 0:
            await until(lambda most=job: len(came) == most + 1)  # type: ignore[misc]
    await until(lambda: len(came) == 600)
    assert sorted(came) == list(range(600))
    threads.close()


async def test_one_call_after_another_comes_back(until: Until) -> None:
    came: list[int] = []
    threads: Threads[int] = Threads(asyncio.get_running_loop(), 2, lambda job: threads.post(lambda: came.append(job)))
    for job in range(200):
        threads.submit(job)
        async with asyncio.timeout(30):
            while len(came) == job:  # noqa: ASYNC110
                await asyncio.sleep(0)
    threads.close()


async def test_what_one_job_posts_is_called_in_order(until: Until) -> None:
    came: list[int] = []

    def work(job: int) -> None:
        for number in range(job):
            threads.post(lambda number=number: came.append(number))  # type: ignore[misc]

    threads: Threads[int] = Threads(asyncio.get_running_loop(), 2, work)
    threads.submit(500)
    await until(lambda: len(came) == 500)
    assert came == list(range(500))
    threads.close()


async def test_a_result_does_not_wait_for_the_job_behind_it(until: Until) -> None:
    release = threading.Event()
    came: list[str] = []

    def work(job: str) -> None:
        if job == "slow":
            release.wait(30)
        threads.post(lambda: came.append(job))

    threads: Threads[str] = Threads(asyncio.get_running_loop(), 1, work)
    threads.submit("fast")
    threads.submit("slow")
    await until(lambda: came == ["fast"])
    release.set()
    await until(lambda: came == ["fast", "slow"])
    threads.close()


async def test_a_job_that_raises_costs_no_thread(until: Until, capsys: pytest.CaptureFixture[str]) -> None:
    came: list[int] = []

    def work(job: int) -> None:
        if not job:
            raise SystemExit("not ours")
        threads.post(lambda: came.append(job))

    threads: Threads[int] = Threads(asyncio.get_running_loop(), 1, work)
    for job in (0, 1):
        threads.submit(job)
    await until(lambda: came == [1])
    threads.close()
    assert "SystemExit: not ours" in capsys.readouterr().err


def handlers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("handler-")]


async def test_threads_end_when_the_pool_is_closed(until: Until) -> None:
    await until(lambda: not handlers())
    gate = threading.Barrier(3)

    def work(job: int) -> None:
        gate.wait(30)

    threads: Threads[int] = Threads(asyncio.get_running_loop(), 3, work)
    for job in range(3):
        threads.submit(job)
    await until(lambda: len(handlers()) == 3)
    threads.close()
    await until(lambda: not handlers())
