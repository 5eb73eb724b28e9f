"""The watchdog as a process: signals, the idle wait before a drain, and orphans, also as process 1."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.watchdogs import DEADLINE

LISTENER = r"""
import http.server, os, signal, subprocess, sys
notes = open(sys.argv[1], "a", buffering=1)

def note(number, frame):
    notes.write(signal.Signals(number).name + "\n")

for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTTIN", "SIGTTOU"):
    signal.signal(getattr(signal, name), note)
child = subprocess.Popen(["sleep", "600"])  # of the same group, and with the usual reaction to SIGUSR1: to die of it
notes.write(f"child {child.pid}\n")
subprocess.run(["sh", "-c", "(sleep 0.1; echo orphan) >> " + sys.argv[1] + " &"])
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), http.server.BaseHTTPRequestHandler).serve_forever()
"""


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def zombies(parent: int) -> list[str]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for pid in children if state_of(pid) == "Z"]


def state_of(pid: str) -> str:
    """Empty for one that has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


@pytest.fixture
def listener(launch: Any, tmp_path: Path) -> tuple[Any, Path]:
    """A watchdog in http mode, and the file in which its program notes the signals that it gets."""
    (tmp_path / "program.py").write_text(LISTENER)
    notes = tmp_path / "notes"
    notes.touch()
    process = launch(fprocess=f"{os.path.realpath('/proc/self/exe')} -S {tmp_path}/program.py {notes}", mode="http")
    wait_for(lambda: "child" in notes.read_text())
    return process, notes


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR1", "SIGUSR2", "SIGWINCH", "SIGCONT", "SIGTTIN", "SIGTTOU"])
def test_http_mode_forwards_a_signal_to_its_program_alone(listener: tuple[Any, Path], name: str) -> None:
    process, notes = listener
    process.send_signal(getattr(signal, name))
    wait_for(lambda: f"{name}\n" in notes.read_text())
    child = notes.read_text().partition("child ")[2].split()[0]
    assert "sleep" in Path(f"/proc/{child}/cmdline").read_text()
    assert process.poll() is None


def test_orphans_of_a_long_lived_program_are_reaped_while_it_runs(listener: tuple[Any, Path]) -> None:
    process, notes = listener
    wait_for(lambda: "orphan" in notes.read_text())
    wait_for(lambda: not zombies(process.pid))
    assert process.poll() is None


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"])
@pytest.mark.parametrize("loop", ["", "asyncio"])
def test_what_ends_the_watchdog_drains_it_first(launch: Any, tmp_path: Path, name: str, loop: str) -> None:
    process = launch(fprocess="cat", PENSTOCK_LOOP=loop)
    wait_for((tmp_path / ".lock").exists)
    process.send_signal(getattr(signal, name))
    assert process.wait(DEADLINE) == 0
    assert b"No new connections allowed, draining: 0 requests" in process.stderr.read()


@pytest.mark.parametrize("variables", [{"fprocess": "cat"}, {"mode": "python"}])
def test_a_hangup_that_is_ignored_stays_ignored(launch: Any, tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / "shop.py").write_text("def handle(event, context):\n    return 'served'\n")
    with hangups(signal.SIG_IGN):
        process = launch(handler=f"{tmp_path}/shop.py", **variables)
    wait_for((tmp_path / ".lock").exists)
    process.send_signal(signal.SIGHUP)
    assert b" 200 " in get(tmp_path, "/")
    assert (tmp_path / ".lock").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0


@contextlib.contextmanager
def hangups(disposition: signal.Handlers) -> Iterator[None]:
    """What is started meanwhile begins with this reaction to SIGHUP."""
    before = signal.signal(signal.SIGHUP, disposition)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def get(tmp_path: Path, target: str) -> bytes:
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE)
        client.connect(f"{tmp_path}/w.sock")
        client.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
        with client.makefile("rb") as stream:
            return stream.read()


def test_with_a_healthcheck_interval_it_is_unhealthy_and_serves_on_until_a_second_signal(
    launch: Any, tmp_path: Path
) -> None:
    process = launch(fprocess="echo served", healthcheck_interval="10m")
    wait_for((tmp_path / ".lock").exists)
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: b" 503 " in get(tmp_path, "/_/health"))
    assert not (tmp_path / ".lock").exists()
    assert get(tmp_path, "/").endswith(b"served\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    assert b"SIGTERM: no new connections in 10m0s" in process.stderr.read()


def test_with_a_healthcheck_interval_workers_are_unhealthy_and_serve_on(launch: Any, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("def handle(event, context):\n    return 'served'\n")
    process = launch(mode="python", handler=f"{tmp_path}/shop.py", healthcheck_interval="10m", python_workers="2")
    wait_for((tmp_path / ".lock").exists)
    process.send_signal(signal.SIGTERM)
    for _ in range(8):  # whichever worker answers
        wait_for(lambda: b" 503 " in get(tmp_path, "/_/health"))
    assert get(tmp_path, "/").endswith(b"served")
    process.send_signal(signal.SIGQUIT)
    assert process.wait(DEADLINE) == 0


def test_after_the_healthcheck_interval_it_drains(launch: Any, tmp_path: Path) -> None:
    process = launch(fprocess="echo served", healthcheck_interval="1s")
    wait_for((tmp_path / ".lock").exists)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    assert time.monotonic() - began >= 1
    assert b"Exiting. Active connections: 0" in process.stderr.read()


def _can_be_process_1() -> bool:
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not _can_be_process_1(), reason="needs root and unshare(1): sudo pytest tests/integration/watchdog")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGQUIT"])
def test_as_process_1_it_ends_on_signals_and_reaps_strangers(tmp_path: Path, name: str) -> None:
    entry = (
        "import os, subprocess, sys, threading, time\n"
        "from penstock.watchdog.app import run\n"
        "assert os.getpid() == 1\n"
        "def stranger():\n"  # a process in our PID namespace whose parent ends before it, as `docker exec` may leave one
        "    while not os.path.exists(sys.argv[1] + '/.lock'): time.sleep(0.01)\n"
        "    subprocess.run(['sh', '-c', '(sleep 0.1; touch ' + sys.argv[1] + '/orphan) &'])\n"
        "    while not os.path.exists(sys.argv[1] + '/orphan'): time.sleep(0.01)\n"
        "    def dead(pid):\n"
        "        try: return open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()[0] == 'Z'\n"
        "        except OSError: return False\n"
        "    while any(dead(pid) for pid in os.listdir('/proc') if pid.isdigit()): time.sleep(0.01)\n"
        "    open(sys.argv[1] + '/reaped', 'w').close()\n"
        "threading.Thread(target=stranger, daemon=True).start()\n"
        "sys.exit(run(os.environ, 'unix:' + sys.argv[1] + '/w.sock'))\n"
    )
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, "-c", entry, str(tmp_path)]
    outside = subprocess.Popen(command, env={**environ, "fprocess": "cat"})
    try:
        wait_for((tmp_path / "reaped").exists)
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split()
        os.kill(int(children[0]), getattr(signal, name))
        assert outside.wait(DEADLINE) == 0
    finally:
        outside.kill()
        outside.wait()
