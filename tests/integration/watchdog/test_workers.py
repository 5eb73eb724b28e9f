"""A watchdog that serves an imported function, as processes: workers come and go, and callers notice as little as can be."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ENTRY = """
import os, sys
from penstock.watchdog import app, workers
from penstock.watchdog.modes import python
workers.HURRY_GRACE, workers._TICK, python.CHECK = 0.5, 0.2, 0.1  # as it is, but for shorter waits
sys.exit(app.run(os.environ, os.environ["LISTEN"]))
"""

HANDLER = """
import asyncio, os, signal, subprocess, sys, threading, time

def handle(event, context):
    word, _, argument = event.path[1:].partition("/")
    if word == "pid":
        return str(os.getpid())
    if word == "exit":
        os._exit(3)
    if word == "sleep":
        time.sleep(float(argument))
        return "slept"
    if word == "wait":
        while not os.path.exists(argument.replace("%", "/")):
            time.sleep(0.01)
        return "waited"
    if word == "fork":
        if os.fork() == 0:
            time.sleep(600)
        return "parent"
    if word == "exec":
        os.execv("/bin/sleep", ["sleep", "600"])
    if word == "close":
        os.close(int(argument))
        return "closed"
    if word == "replace":
        os.dup2(os.open(os.devnull, os.O_WRONLY), int(argument))
    if word == "streams":
        sys.stdout.close(), sys.stderr.close()
        return "closed"
    if word == "print":
        for _ in range(int(argument)):
            print("x" * 1000)
        return "printed"
    if word == "orphan":
        subprocess.Popen(["sh", "-c", "sleep 600 & echo $! > " + argument.replace("%", "/")]).wait()
    if word == "limits":
        import resource
        return str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    return "hello"
"""


def write(file: Path, source: str) -> None:
    """Replace a source at once, as editors do: nobody ever reads half of it."""
    fresh = file.with_suffix(".new")
    fresh.write_text(source)
    fresh.replace(file)


class Replica:
    """A watchdog process, its function, and how to ask it."""

    def __init__(self, directory: Path, source: str, pass_fds: tuple[int, ...], **variables: str) -> None:
        self.directory = directory
        self.path = directory / "w.sock"
        self.log = directory / "log"
        self.file = directory / "fn" / "handler.py"
        self.file.parent.mkdir(exist_ok=True)
        write(self.file, source)
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TMPDIR": str(directory),
            "LISTEN": f"unix:{self.path}",
            "mode": "python",
            "handler": str(self.file.parent),
            "healthcheck_interval": "0",
            **variables,
        }
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", ENTRY]
            self.process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, pass_fds=pass_fds)

    def printed(self) -> str:
        return self.log.read_text(errors="replace")

    def ready(self) -> Replica:
        wait_for((self.directory / ".lock").exists)
        return self

    def ask(self, target: str, *fields: str, timeout: float = 60.0) -> tuple[int, bytes]:
        """Status and body; status 0 when the connection was closed without an answer."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(timeout)
            client.connect(str(self.path))
            client.sendall("\r\n".join((f"GET {target} HTTP/1.0", *fields, "", "")).encode())
            data = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        return (int(head.split()[1]), body) if head else (0, b"")

    def pid(self) -> int:
        return int(self.ask("/pid")[1])

    def workers(self) -> list[int]:
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in text.split()]

    def metric(self, name: str) -> float:
        lines = self.ask("/_/metrics")[1].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


Launch = Callable[..., Replica]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    started: list[Replica] = []

    def begin(source: str = HANDLER, pass_fds: tuple[int, ...] = (), **variables: str) -> Replica:
        started.append(Replica(tmp_path, source, pass_fds, **variables))
        return started[-1]

    yield begin
    for replica in started:
        if replica.process.poll() is None:
            replica.process.send_signal(signal.SIGTERM)
            replica.process.send_signal(signal.SIGTERM)
            try:
                replica.process.wait(60)
            except subprocess.TimeoutExpired:
                replica.process.kill()
                replica.process.wait()


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 60
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the latter when it goes between open and read
        return True


def test_workers_share_the_import_and_end_with_their_parent(launch: Launch) -> None:
    replica = launch(
        "import os\nborn = os.getpid()\ndef handle(event, context):\n    return str(born)\n", python_workers="2"
    )
    replica.ready()
    workers = replica.workers()
    assert len(workers) == 2
    assert replica.ask("/")[1] == str(replica.process.pid).encode()
    assert replica.stop() == 0
    assert all(is_gone(pid) for pid in workers)
    assert not (replica.directory / ".lock").exists()


def test_a_killed_worker_is_replaced_and_counters_go_on(launch: Launch) -> None:
    replica = launch().ready()
    before = replica.pid()
    os.kill(before, signal.SIGKILL)
    after = replica.pid()  # waits in the backlog until there is a worker
    assert after != before
    assert replica.metric('http_requests_total{code="200"') == 2
    assert f"worker {before} ended: signal: killed" in replica.printed()


def test_a_handler_that_exits_the_process_costs_its_own_call(launch: Launch) -> None:
    replica = launch().ready()
    assert replica.ask("/exit") == (0, b"")
    assert replica.ask("/") == (200, b"hello")


def test_calls_that_end_their_worker_make_no_others_wait(launch: Launch) -> None:
    replica = launch().ready()
    for _ in range(10):
        assert replica.ask("/exit") == (0, b"")
        assert replica.ask("/") == (200, b"hello")
    assert "next start in" not in replica.printed()


def test_a_handler_that_turns_into_another_program_is_ended_and_replaced(launch: Launch) -> None:
    replica = launch(exec_timeout="10m").ready()
    before = replica.pid()
    assert replica.ask("/exec") == (0, b"")
    assert replica.pid() != before  # long before the time is up
    assert is_gone(before)


def test_a_forked_process_keeps_no_connection_open_and_ends_with_its_worker(launch: Launch) -> None:
    replica = launch().ready()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(replica.path))
        client.sendall(b"GET /pid HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = http.client.HTTPResponse(client)
        answer.begin()
        pid = int(answer.read())
        assert replica.ask("/fork") == (200, b"parent")
        forked = [
            int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
        ]
        assert len(forked) == 1 and not is_gone(forked[0])
        os.kill(pid, signal.SIGKILL)
        assert client.recv(65536) == b""
        answer.close()
    wait_for(lambda: is_gone(forked[0]))
    assert replica.ask("/") == (200, b"hello")


def test_a_blocked_handler_is_answered_504_and_its_worker_replaced_while_others_finish(launch: Launch) -> None:
    replica = launch(exec_timeout="1m").ready()
    before = replica.pid()
    answers: list[tuple[int, bytes]] = []
    gate = replica.directory / "gate"
    other = threading.Thread(target=lambda: answers.append(replica.ask("/wait/" + str(gate).replace("/", "%"))))
    other.start()
    wait_for(lambda: replica.metric("http_requests_in_flight ") == 1)
    status, body = replica.ask("/sleep/600", "X-Timeout: 200ms")
    assert (status, body) == (504, b"the function gave no complete answer within 0.2 s\n")
    wait_for(lambda: replica.pid() != before)
    gate.touch()
    other.join()
    assert answers == [(200, b"waited")]
    wait_for(lambda: is_gone(before))


def test_a_blocked_loop_is_answered_504_and_its_worker_replaced(launch: Launch) -> None:
    source = (
        "import os, time\nasync def handle(event, context):\n    if event.path == '/block':\n        time.sleep(600)\n"
    )
    replica = launch(source + "    return str(os.getpid())\n", exec_timeout="1s").ready()
    before = replica.pid()
    status, body = replica.ask("/block")
    assert (status, body) == (504, b"the function blocked its event loop for more than 1 s\n")
    assert replica.pid() != before
    assert "time.sleep(600)" in replica.printed()


def test_a_leaving_worker_that_does_not_end_is_killed(launch: Launch) -> None:
    source = (
        "import asyncio, os\nasync def handle(event, context):\n    if event.path == '/stay':\n        while True:\n"
        "            try:\n                await asyncio.sleep(600)\n            except asyncio.CancelledError:\n"
        "                pass\n    return str(os.getpid())\n"
    )
    replica = launch(source, exec_timeout="200ms", write_timeout="1s").ready()
    (before,) = replica.workers()
    assert replica.ask("/stay")[0] == 504
    os.kill(before, signal.SIGTERM)
    wait_for(lambda: {*replica.workers()} - {before})
    wait_for(lambda: is_gone(before))


def test_a_worker_leaves_after_max_requests_without_failing_any(launch: Launch) -> None:
    replica = launch(max_requests="5", max_requests_jitter="0").ready()
    pids = [replica.ask("/pid") for _ in range(22)]
    assert {status for status, _ in pids} == {200}
    assert len({body for _, body in pids}) >= 4
    assert replica.metric('http_requests_total{code="200"') == 22


@pytest.mark.parametrize("target", ["/close/0", "/close/1", "/close/2", "/streams"])
def test_closed_streams_do_not_harm_the_next_call(launch: Launch, target: str) -> None:
    replica = launch().ready()
    assert replica.ask(target) == (200, b"closed")
    assert replica.ask("/print/1") == (200, b"printed")
    wait_for(lambda: "x" * 1000 in replica.printed())


def test_a_worker_whose_log_was_taken_away_is_replaced(launch: Launch) -> None:
    replica = launch().ready()
    before = replica.pid()
    assert replica.ask("/replace/1") == (200, b"hello")
    wait_for(lambda: replica.pid() != before)


def test_printing_without_end_takes_no_memory_and_stalls_nobody(launch: Launch) -> None:
    replica = launch(exec_timeout="10m").ready()
    pid = replica.pid()
    printing = threading.Thread(target=replica.ask, args=("/print/100000",), kwargs={"timeout": 600})
    printing.start()
    assert all(replica.ask("/") == (200, b"hello") for _ in range(20))
    printing.join()
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert int(status["VmHWM"].split()[0]) < 150_000  # KiB, of 100 MB printed
    replica.log.write_text("")


def test_a_function_that_takes_the_signals_is_drained_all_the_same(launch: Launch) -> None:
    source = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + HANDLER
    replica = launch(source).ready()
    answers: list[tuple[int, bytes]] = []
    gate = replica.directory / "gate"
    last = threading.Thread(target=lambda: answers.append(replica.ask("/wait/" + str(gate).replace("/", "%"))))
    last.start()
    wait_for(lambda: replica.metric("http_requests_in_flight ") == 1)
    replica.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not (replica.directory / ".lock").exists())
    gate.touch()
    assert replica.process.wait(60) == 0
    last.join()
    assert answers == [(200, b"waited")]


def test_a_second_signal_ends_it_at_once(launch: Launch) -> None:
    replica = launch(exec_timeout="0").ready()
    asking = threading.Thread(target=replica.ask, args=("/sleep/600",))
    asking.start()
    wait_for(lambda: replica.metric("http_requests_in_flight ") == 1)
    replica.process.send_signal(signal.SIGTERM)
    wait_for(lambda: not (replica.directory / ".lock").exists())
    assert replica.stop() == 0
    asking.join()


def test_the_end_of_the_lifeline_ends_it(launch: Launch) -> None:
    read, write = os.pipe()
    replica = launch(pass_fds=(read,), PENSTOCK_LIFELINE_FD=str(read)).ready()
    os.close(read)
    os.close(write)
    assert replica.process.wait(60) == 0


def test_workers_die_with_a_parent_that_was_killed(launch: Launch) -> None:
    replica = launch(python_workers="2").ready()
    workers = replica.workers()
    replica.process.kill()
    replica.process.wait()
    wait_for(lambda: all(is_gone(pid) for pid in workers))


def test_what_a_handler_left_running_ends_with_the_replica(launch: Launch, tmp_path: Path) -> None:
    replica = launch().ready()
    note = tmp_path / "orphan"
    replica.ask("/orphan/" + str(note).replace("/", "%"))
    orphan = int(note.read_text())
    assert replica.stop() == 0
    wait_for(lambda: is_gone(orphan))


def test_max_inflight_counts_all_workers(launch: Launch) -> None:
    replica = launch(python_workers="2", max_inflight="1", exec_timeout="10m").ready()
    gate = replica.directory / "gate"
    asking = threading.Thread(target=replica.ask, args=("/wait/" + str(gate).replace("/", "%"),))
    asking.start()
    wait_for(lambda: replica.metric("http_requests_in_flight ") == 1)
    statuses = {replica.ask("/")[0] for _ in range(8)}
    gate.touch()
    asking.join()
    assert statuses == {429}
    assert replica.ask("/")[0] == 200


def test_limits_of_programs_hold_for_workers(launch: Launch) -> None:
    replica = launch(PENSTOCK_RLIMIT_NOFILE="99").ready()
    assert replica.ask("/limits") == (200, b"99")


def test_threads_fit_into_limited_memory(launch: Launch) -> None:
    replica = launch(PENSTOCK_RLIMIT_MEMORY=str(64 << 20)).ready()
    asking = [threading.Thread(target=replica.ask, args=("/sleep/0.3",)) for _ in range(16)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert replica.metric('http_requests_total{code="200"') == 16


def test_a_failed_import_is_told_and_logged(launch: Launch) -> None:
    replica = launch("import nothing_like_it\n").ready()
    status, body = replica.ask("/_/ready")
    assert status == 503
    assert body.splitlines()[0].endswith(b"failed: ModuleNotFoundError: No module named 'nothing_like_it'")
    assert b"Traceback" in body
    assert replica.ask("/")[0] == 503
    assert "Traceback" in replica.printed()


def test_threads_of_the_import_live_in_the_worker(launch: Launch) -> None:
    source = (
        "import threading\nbeats = []\nstop = threading.Event()\n"
        "def beat():\n    while not stop.wait(0.01):\n        beats.append(1)\n"
        "threading.Thread(target=beat, name='beating', daemon=True).start()\n"
        "def handle(event, context):\n    return str(len(beats))\n"
    )
    replica = launch(source).ready()
    first = int(replica.ask("/")[1])
    wait_for(lambda: int(replica.ask("/")[1]) > first)
    assert "started threads (beating)" in replica.printed()


def test_an_edit_takes_over_without_failing_a_call_and_a_broken_one_is_shown(launch: Launch, tmp_path: Path) -> None:
    source = "from helper import word\ndef handle(event, context):\n    return word\n"
    helper = tmp_path / "fn" / "helper.py"
    helper.parent.mkdir()
    write(helper, "word = 'one'\n")
    replica = launch(source, python_reload="true").ready()
    wait_for(lambda: replica.ask("/") == (200, b"one"))
    statuses: set[int] = set()
    over = threading.Event()

    def keep_asking() -> None:
        while not over.is_set():
            statuses.add(replica.ask("/")[0])

    asking = threading.Thread(target=keep_asking)
    asking.start()
    write(helper, "word = 'another'\n")
    wait_for(lambda: replica.ask("/") == (200, b"another"))
    over.set()
    asking.join()
    assert statuses == {200}
    write(helper, "word = \n")
    wait_for(lambda: replica.ask("/")[0] == 503)
    wait_for(lambda: b"SyntaxError" in replica.ask("/_/ready")[1])  # the worker of before may have been asked last
    write(helper, "word = 'mended'\n")
    wait_for(lambda: replica.ask("/") == (200, b"mended"))


def test_workers_that_die_young_are_not_started_in_a_loop(launch: Launch) -> None:
    source = "import os\nparent = os.getpid()\nos.register_at_fork(after_in_child=lambda: os._exit(9))\n"
    replica = launch(source + "def handle(event, context):\n    return ''\n")
    wait_for(lambda: "next start in 400ms" in replica.printed())
    assert replica.printed().partition("next start in 400ms")[0].count("ended: exit status 9") <= 4
    assert replica.stop() == 0


@pytest.mark.parametrize("loop", ["", "asyncio"])
def test_both_loops_listen_on_inherited_sockets(launch: Launch, loop: str) -> None:
    replica = launch(PENSTOCK_LOOP=loop, python_workers="2").ready()
    assert replica.ask("/") == (200, b"hello")
    assert replica.stop() == 0
