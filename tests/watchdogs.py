"""Watchdogs as processes of their own, for the tests of every stage."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

DEADLINE = 60.0

LIMITS = (0.3, 5.0, 50.0)
"""Seconds of a time limit, to be tried in turn: the next one only where the machine was too slow for a program or thread to get as
far as it has to before its time is over."""

ENTRY = (
    "import os, sys; from penstock.watchdog.app import run; environ = dict(os.environ); name = environ.pop('CALLED', '');"
    "sys.exit(run(environ, environ.get('LISTEN'), program=name))"
)


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a watchdog process on `tmp_path/w.sock`, or on TCP when LISTEN is empty."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(pass_fds: tuple[int, ...] = (), **variables: str) -> subprocess.Popen[bytes]:
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(tmp_path),
            "LISTEN": f"unix:{tmp_path}/w.sock",
            **variables,
        }
        if not environ["LISTEN"]:
            del environ["LISTEN"]
        command = [sys.executable, "-c", ENTRY]
        started.append(subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, pass_fds=pass_fds))
        return started[-1]

    yield begin
    for process in started:
        for _ in range(2):  # the second has it end its program at once
            process.terminate()
        try:
            process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


@pytest.fixture
def reserved_port() -> Iterator[int]:
    """A TCP port that the system gives to nobody else meanwhile, and that a program under test may listen on nevertheless."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("0.0.0.0", 0))
        yield int(holder.getsockname()[1])
