"""Signals that end a program cancel what it does first, once."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from penstock.cli.cancelling import run_to_a_tidy_end

PROGRAM = textwrap.dedent("""\
    import asyncio, signal, sys
    from penstock.cli.cancelling import run_to_a_tidy_end

    async def work():
        try:
            print("working", flush=True)
            await asyncio.sleep(3600)
        finally:
            print("tidying", flush=True)
            await asyncio.sleep({tidying})
            print("tidy", flush=True)

    signal.signal(signal.SIGHUP, signal.{hangup})
    run_to_a_tidy_end(work())
    """)


@contextmanager
def running(tidying: float = 0, hangup: str = "SIG_DFL") -> Iterator[subprocess.Popen[str]]:
    """The program at its work."""
    command = [sys.executable, "-c", PROGRAM.format(tidying=tidying, hangup=hangup)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            heard(process, "working")
            yield process
        finally:
            process.kill()


def heard(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGHUP))
def test_a_signal_is_obeyed_once_everything_is_tidy(number: signal.Signals) -> None:
    with running() as process:
        process.send_signal(number)
        heard(process, "tidying")
        heard(process, "tidy")
        assert process.wait() == 128 + number


def test_a_second_signal_ends_it_at_once() -> None:
    with running(tidying=3600) as process:
        process.send_signal(signal.SIGTERM)
        heard(process, "tidying")
        process.send_signal(signal.SIGTERM)
        assert process.wait() == -signal.SIGTERM


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    with running(hangup="SIG_IGN") as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


def test_what_is_returned_and_raised_comes_through() -> None:
    async def work(fails: bool) -> int:
        if fails:
            raise ValueError("a fault")
        return 7

    assert run_to_a_tidy_end(work(False)) == 7
    with pytest.raises(ValueError, match="a fault"):
        run_to_a_tidy_end(work(True))


def test_a_cancellation_that_no_signal_has_caused_is_passed_on() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_to_a_tidy_end(work())
