"""The watchdog as a process: its start, its signals and its end."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.watchdogs import DEADLINE

ENTRY = "import os, sys; from penstock.watchdog.app import run; sys.exit(run(os.environ, os.environ.get('LISTEN')))"


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether it has ended; whoever has become its parent reaps it in time."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it goes between open and read
        return True


def ask(tmp_path: Path, text: bytes = b"GET / HTTP/1.0\r\n\r\n") -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(f"{tmp_path}/w.sock")
    client.sendall(text)
    return client


def read_all(client: socket.socket) -> bytes:
    client.settimeout(DEADLINE)
    with client, client.makefile("rb") as stream:
        return stream.read()


@pytest.mark.parametrize("loop", ["", "asyncio"])
def test_sigterm_drains_without_an_idle_wait_and_exits_0(launch: Any, tmp_path: Path, loop: str) -> None:
    process = launch(fprocess="cat", PENSTOCK_LOOP=loop)
    wait_for((tmp_path / ".lock").exists)
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    assert b"no new connections in 0s\n" in process.stderr.read()  # the original waits for 30 s by default
    assert not (tmp_path / ".lock").exists()


def test_a_request_in_flight_is_finished_on_sigterm(launch: Any, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(f"touch {tmp_path}/begun; sleep 1; echo done")
    process = launch(fprocess=f"sh {tmp_path}/script")
    wait_for((tmp_path / ".lock").exists)
    client = ask(tmp_path)
    wait_for((tmp_path / "begun").exists)
    process.send_signal(signal.SIGTERM)
    assert read_all(client).endswith(b"\r\n\r\ndone\n")
    assert process.wait(DEADLINE) == 0


def test_a_second_signal_ends_at_once(launch: Any, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(f"touch {tmp_path}/begun; sleep 600")
    process = launch(fprocess=f"sh {tmp_path}/script", write_timeout="10m")
    wait_for((tmp_path / ".lock").exists)
    client = ask(tmp_path)
    wait_for((tmp_path / "begun").exists)
    process.send_signal(signal.SIGTERM)
    wait_for(lambda: not (tmp_path / ".lock").exists())
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    client.close()


def test_a_drain_that_takes_too_long_cuts_and_kills(launch: Any, tmp_path: Path) -> None:
    (tmp_path / "script").write_text(f"echo $$ > {tmp_path}/pid; exec sleep 600")
    process = launch(fprocess=f"sh {tmp_path}/script", write_timeout="1s")
    wait_for((tmp_path / ".lock").exists)
    client = ask(tmp_path)
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    wait_for(lambda: is_gone(int((tmp_path / "pid").read_text())))
    client.close()


def test_the_end_of_the_lifeline_is_a_drain(launch: Any, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    process = launch(pass_fds=(reader,), fprocess="cat", PENSTOCK_LIFELINE_FD=str(reader))
    os.close(reader)
    wait_for((tmp_path / ".lock").exists)
    assert process.poll() is None
    os.close(writer)
    assert process.wait(DEADLINE) == 0


def test_strays_are_gone_after_the_drain(launch: Any, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    (tmp_path / "script").write_text(
        f"setsid sh -c 'echo $$ > {pid}; exec sleep 600' &\nuntil test -s {pid}; do sleep 0.01; done; echo done"
    )
    process = launch(fprocess=f"sh {tmp_path}/script")
    wait_for((tmp_path / ".lock").exists)
    assert b"done" in read_all(ask(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    wait_for(lambda: is_gone(int(pid.read_text())))


@pytest.mark.parametrize("name", ["fwatchdog", "of-watchdog"])
def test_called_by_the_name_of_an_original_it_behaves_as_that_did(launch: Any, tmp_path: Path, name: str) -> None:
    process = launch(fprocess="false", CALLED=name, **({"mode": "streaming"} if name == "fwatchdog" else {}))
    wait_for((tmp_path / ".lock").exists)
    assert read_all(ask(tmp_path)).startswith(b"HTTP/1.1 200 OK\r\n")
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE) == 0
    assert re.search(rb" GET / - 500 - ContentLength: 0B \(\d+\.\d{4}s\)\n", process.stderr.read())


def test_bad_settings_are_told_and_exit_1(launch: Any) -> None:
    process = launch(mode="nonsense")
    assert process.wait(DEADLINE) == 1
    assert b"mode: 'nonsense' is unknown" in process.stderr.read()


def test_a_busy_port_is_told_and_exits_1(launch: Any) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        process = launch(
            fprocess="cat", LISTEN="", port=str(other.getsockname()[1]), PENSTOCK_WATCHDOG_METRICS_PORT="0"
        )
        assert process.wait(DEADLINE) == 1
        assert b"cannot start" in process.stderr.read()


def test_a_busy_metrics_port_is_only_a_warning(launch: Any, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        process = launch(
            fprocess="cat", LISTEN="", port="0", PENSTOCK_WATCHDOG_METRICS_PORT=str(other.getsockname()[1])
        )
        wait_for((tmp_path / ".lock").exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        assert b"no metrics on port" in process.stderr.read()


def test_metrics_have_a_port_of_their_own_on_tcp(launch: Any, tmp_path: Path, reserved_port: int) -> None:
    launch(fprocess="cat", LISTEN="", port="0", PENSTOCK_WATCHDOG_METRICS_PORT=str(reserved_port))
    wait_for((tmp_path / ".lock").exists)
    for path, status in ((b"/metrics", b" 200 "), (b"/other", b" 404 ")):
        client = socket.create_connection(("127.0.0.1", reserved_port))
        client.sendall(b"GET " + path + b" HTTP/1.0\r\n\r\n")
        assert status in read_all(client).partition(b"\r\n")[0]


def test_a_lock_file_that_cannot_be_written_is_an_error(launch: Any, tmp_path: Path) -> None:
    process = launch(fprocess="cat", TMPDIR=str(tmp_path / "missing"))
    assert process.wait(DEADLINE) == 1
    assert b"lock file" in process.stderr.read()


def test_closed_standard_descriptors_do_not_confuse_programs(tmp_path: Path) -> None:
    path = f"{tmp_path}/w.sock"
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    environ |= {"LISTEN": f"unix:{path}", "fprocess": "cat"}
    process = subprocess.Popen(["sh", "-c", f'exec {sys.executable} -c "$1" <&- >&- 2>&-', "sh", ENTRY], env=environ)
    try:
        wait_for((tmp_path / ".lock").exists)
        request = b"POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello"
        assert read_all(ask(tmp_path, request)).endswith(b"\r\n\r\nhello")
    finally:
        process.terminate()
        process.wait(DEADLINE)


def test_importing_every_mode_stays_light() -> None:
    code = (
        "import sys; from penstock.watchdog import app, modes; modes.preload();"
        "print([name for name in ('aiohttp', 'click', 'rich', 'starlette', 'uvicorn', 'apsw', 'prometheus_client',"
        " 'email', 'urllib.request', 'http.client') if name in sys.modules])"
    )
    environ = {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environ, text=True).strip() == "[]"
