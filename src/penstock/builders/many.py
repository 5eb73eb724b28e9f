"""Several builds at once: some workers, one builder, results in the order of the stack file.

Called by the verbs, whose reporter draws what happens. A build that fails does not stop the others; Ctrl-C, SIGTERM and SIGHUP
stop all of them with every program they have started.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Protocol

import msgspec

from penstock.builders.model import Builder, BuildRequest, Built
from penstock.endsignals import unwinding
from penstock.errors import PenstockError


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A function that is to be built, or the reason why it cannot even be tried."""

    name: str
    request: BuildRequest | None = None
    fault: PenstockError | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What has become of a job; exactly one of the two."""

    name: str
    built: Built | None = None
    fault: PenstockError | None = None


class Reporter(Protocol):
    """Told what happens, from any thread. `worker` counts from 1."""

    def began(self, worker: int, name: str) -> None: ...

    def told(self, worker: int, name: str, words: str) -> None: ...

    def ended(self, worker: int, outcome: Outcome, seconds: float) -> None: ...


def build_many(builder: Builder, jobs: Sequence[Job], workers: int, reporter: Reporter) -> list[Outcome]:
    """Build all, at most `workers` at a time. What a job raises on purpose, or the system, is its outcome."""
    numbers: SimpleQueue[int] = SimpleQueue()
    for number in range(1, workers + 1):
        numbers.put(number)

    def one(job: Job) -> Outcome:
        worker = numbers.get()
        try:
            return _build(builder, job, worker, reporter)
        finally:
            numbers.put(worker)

    with unwinding(), ThreadPoolExecutor(workers, thread_name_prefix="build") as pool:
        try:
            futures = [pool.submit(one, job) for job in jobs]
            wait(futures)
        except BaseException:  # an interruption, which may come when not all have been submitted
            pool.shutdown(wait=False, cancel_futures=True)
            builder.cancel()
            raise
    return [future.result() for future in futures]


def _build(builder: Builder, job: Job, worker: int, reporter: Reporter) -> Outcome:
    started = time.monotonic()
    if job.request is None:
        return Outcome(name=job.name, fault=job.fault)
    reporter.began(worker, job.name)
    try:
        built = builder.build(job.request, lambda words: reporter.told(worker, job.name, words))
        outcome = Outcome(name=job.name, built=built)
    except PenstockError as error:
        outcome = Outcome(name=job.name, fault=error)
    except OSError as error:
        outcome = Outcome(name=job.name, fault=_translated(error))
    reporter.ended(worker, outcome, time.monotonic() - started)
    return outcome


def _translated(error: OSError) -> PenstockError:
    fault = PenstockError(f"{error.filename + ': ' if error.filename else ''}{error.strerror or error}")
    fault.__cause__ = error
    return fault
