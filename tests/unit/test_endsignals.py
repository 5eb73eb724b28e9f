"""Signals that end a process, while there is something to put away; each in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

KILLED = """\
import os, signal, sys, threading
from penstock.endsignals import undisturbed, unwinding
number = signal.Signals[sys.argv[1]]
"""


def ended(script: str, name: str) -> tuple[int, str]:
    """Exit code of a script, and what it wrote."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED + script, name], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_unwinds(name: str, code: int) -> None:
    script = "with unwinding():\n  try: os.kill(os.getpid(), number)\n  finally: print('put away', flush=True)"
    assert ended(script, name) == (code, "put away\n")


def test_afterwards_it_ends_the_process_as_before() -> None:
    assert ended("with unwinding(): pass\nos.kill(os.getpid(), number)", "SIGTERM") == (-signal.SIGTERM, "")


def test_a_signal_that_is_ignored_stays_so() -> None:
    script = "signal.signal(number, signal.SIG_IGN)\nwith unwinding(): os.kill(os.getpid(), number)\nprint('on')"
    assert ended(script, "SIGHUP") == (0, "on\n")


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", -signal.SIGINT)])
def test_what_is_started_undisturbed_is_known_before_it_is_put_away(name: str, code: int) -> None:
    script = """
known = []
with unwinding():
    try:
        with undisturbed():
            os.kill(os.getpid(), number)
            known.append("it")
        known.append("too late")
    finally:
        print(known, flush=True)
"""
    assert ended(script, name) == (code, "['it']\n")


def test_other_threads_decide_about_no_signal() -> None:
    script = """
def work():
    with unwinding(), undisturbed(): print(signal.getsignal(number) is signal.SIG_DFL)
thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    assert ended(script, "SIGTERM") == (0, "True\n")
