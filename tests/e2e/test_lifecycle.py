"""Processes that die, are killed and told to stop: what goes on, what comes back, and that nothing is left."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import psutil
import pytest

from tests.e2e.programs import Workshop, alive, below, descendants, role, wait_dead
from tests.e2e.serving import Answer, Penstock, serving, wait_until

WORKER, CONTROL, ZYGOTE = "penstock.gateway.worker", "penstock.control.process", "penstock.providers.runtimes.zygote"

SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(os.getpid()).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
"""A program for http mode that answers its process id."""

SLEEPER = """
import os, pathlib, sys, time
sys.stdin.buffer.read()
pathlib.Path({note!r}).write_text(str(os.getpid()))
time.sleep({seconds})
print("slept")
"""


@pytest.fixture(scope="module")
def server(workshop: Workshop) -> Iterator[Penstock]:
    """Two workers, a CLI function `cat` and an HTTP function `pid`."""
    with serving("--workers", "2") as running:
        running.deploy("cat", "cat")
        running.deploy("pid", workshop.python("server", SERVER), mode="http")
        yield running


@pytest.fixture
def fresh() -> Iterator[Callable[..., Penstock]]:
    """Starts servers that a test may kill; what is left of them is ended."""
    started: list[Penstock] = []
    homes: list[Path] = []

    def start(*flags: str, home: Path | None = None, environ: Mapping[str, str] | None = None) -> Penstock:
        if home is None:
            home = Path(tempfile.mkdtemp(prefix="ps-"))
            homes.append(home)
        started.append(Penstock(*flags, home=home, environ=environ))
        return started[-1]

    yield start
    for running in started:
        running.kill()
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)


def pid_of(server: Penstock) -> int:
    """The program that answers for `pid`, once one does."""

    def answer() -> int:
        got = server.request("GET", "/function/pid")
        return int(got.body) if got.status == 200 else 0

    return wait_until(answer, "an answer of the HTTP function", 60.0)


def tree(server: Penstock) -> list[psutil.Process]:
    """The supervisor and everything it and its replicas have started."""
    return [psutil.Process(server.process.pid), *descendants(server.process.pid)]


def send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    """Some of them may have gone with others."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def wait_all_dead(processes: list[psutil.Process]) -> None:
    def left() -> list[psutil.Process]:
        return [process for process in processes if process.is_running() and alive(process.pid)]

    wait_until(lambda: not left(), "all processes of the earlier run to end", 60.0)


# Something dies, the rest goes on.


def test_a_killed_program_of_http_mode_is_started_again(server: Penstock) -> None:
    before = pid_of(server)
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: not alive(before), "its end", 60.0)
    assert pid_of(server) != before


def test_a_killed_replica_is_replaced_and_takes_its_program_along(server: Penstock) -> None:
    program = pid_of(server)
    replica = psutil.Process(program).parent()
    assert replica is not None
    replica.kill()
    wait_dead(replica.pid, program)
    assert pid_of(server) != program
    status = server.function("pid")
    assert status["availableReplicas"] == 1


def test_a_killed_control_is_started_again_and_functions_are_served_meanwhile(server: Penstock) -> None:
    before = pid_of(server)
    control = role(server.process.pid, CONTROL)
    control.suspend()
    control.kill()
    assert server.invoke("cat", b"meanwhile").body == b"meanwhile"
    wait_until(lambda: server.request("GET", "/system/functions", admin=True).status == 200, "control to be back", 60.0)
    assert role(server.process.pid, CONTROL).pid != control.pid
    assert pid_of(server) == before
    assert server.invoke("cat", b"after").body == b"after"
    assert {f["name"] for f in server.request("GET", "/system/functions", admin=True).json()} == {"cat", "pid"}
    wait_until(lambda: server.function("pid").get("availableReplicas") == 1, "the replica to be known again", 60.0)


def test_no_request_fails_while_control_is_killed(server: Penstock) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(server.invoke, "cat", b"x") for _ in range(200)]
        role(server.process.pid, CONTROL).kill()
        assert {call.result().status for call in calls} == {200}
    wait_until(lambda: server.request("GET", "/system/functions", admin=True).status == 200, "control to be back", 60.0)


def test_a_killed_worker_comes_back_and_the_other_serves(server: Penstock) -> None:
    workers = below(server.process.pid, WORKER)
    workers[0].kill()
    wait_dead(workers[0].pid)

    def served() -> bool:
        try:
            return server.invoke("cat", b"x").status == 200
        except OSError:
            return False  # a connection that the kernel had given to the dead worker

    wait_until(served, "the other worker to serve", 60.0)
    wait_until(lambda: len(below(server.process.pid, WORKER)) == 2, "the worker to be back", 60.0)
    assert {process.pid for process in below(server.process.pid, WORKER)} != {process.pid for process in workers}
    for _ in range(20):
        wait_until(served, "both to serve", 60.0)


def test_a_killed_zygote_is_started_again_and_replicas_live_on(server: Penstock) -> None:
    before = pid_of(server)
    zygote = role(server.process.pid, ZYGOTE)
    zygote.kill()
    assert server.invoke("cat", b"meanwhile").body == b"meanwhile"
    wait_until(lambda: not alive(zygote.pid), "its end", 60.0)
    role(server.process.pid, ZYGOTE)
    assert pid_of(server) == before
    assert server.deploy("new", "cat").status == 202
    assert server.invoke("new", b"after").body == b"after"
    os.kill(before, signal.SIGKILL)  # whose parents are not the zygote's children any more
    assert pid_of(server) != before
    body = json.dumps({"functionName": "new"}).encode()
    assert server.request("DELETE", "/system/functions", body, admin=True).status == 202


def test_everything_but_the_supervisor_killed_at_once_comes_back(server: Penstock) -> None:
    send(signal.SIGKILL, descendants(server.process.pid))

    def served() -> bool:
        try:
            return server.invoke("cat", b"x").status == 200 and bool(pid_of(server))
        except OSError:
            return False

    # So often in a row that neither worker, which begin at their own times, is left out.
    wait_until(lambda: all(served() for _ in range(20)), "the functions to be served again")


# The supervisor dies.


def test_after_kill_9_of_the_supervisor_nothing_of_it_is_left_and_a_restart_serves_the_same(
    fresh: Callable[..., Penstock], workshop: Workshop
) -> None:
    first = fresh()
    first.deploy("cat", "cat")
    first.deploy("pid", workshop.python("server", SERVER), mode="http")
    pid_of(first)
    processes = tree(first)
    first.process.kill()
    first.process.wait()
    wait_all_dead(processes)
    second = fresh(home=first.home)
    assert second.password == first.password
    pid_of(second)
    wait_until(lambda: second.invoke("cat", b"again").body == b"again", "the function", 60.0)
    assert second.stop() == 0


def test_after_kill_9_of_everything_a_restart_serves_the_same(
    fresh: Callable[..., Penstock], workshop: Workshop
) -> None:
    first = fresh()
    first.deploy("cat", "cat")
    first.deploy("pid", workshop.python("server", SERVER), mode="http")
    pid_of(first)
    replicas = tree(first)
    send(signal.SIGSTOP, replicas)
    send(signal.SIGKILL, replicas)
    first.process.wait()
    second = fresh(home=first.home)
    pid_of(second)
    wait_until(lambda: second.invoke("cat", b"again").body == b"again", "the function", 60.0)
    wait_all_dead(replicas)
    assert second.stop() == 0


def test_replicas_of_a_killed_run_do_not_outlive_the_next_start(
    fresh: Callable[..., Penstock], workshop: Workshop
) -> None:
    """The worst case: supervisor, control, zygote and workers are killed while the replicas are stopped."""
    first = fresh()
    first.deploy("pid", workshop.python("server", SERVER), mode="http")
    program = pid_of(first)
    replica = psutil.Process(program).parent()
    assert replica is not None
    replica.suspend()
    wait_until(lambda: replica.status() == psutil.STATUS_STOPPED, "the replica to stop", 60.0)
    send(signal.SIGKILL, [process for process in tree(first) if process.pid not in (program, replica.pid)])
    first.process.wait()
    second = fresh(home=first.home)
    assert pid_of(second) != program
    wait_dead(program, replica.pid)
    assert second.stop() == 0


# Told to stop.


def test_sigterm_drains_a_request_in_flight_and_leaves_nothing(
    fresh: Callable[..., Penstock], workshop: Workshop
) -> None:
    running = fresh()
    note = workshop.file("draining")
    running.deploy("sleeper", workshop.python("sleeper", SLEEPER.format(note=str(note), seconds=2)))
    running.deploy("pid", workshop.python("server", SERVER), mode="http")
    pid_of(running)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(running.invoke, "sleeper", b"x")
        wait_until(note.exists, "the program to run", 60.0)
        processes = tree(running)
        running.process.send_signal(signal.SIGTERM)
        answer = call.result(60)
    assert (answer.status, answer.text) == (200, "slept\n")
    assert running.process.wait(60) == 0
    wait_all_dead(processes)


def test_a_second_sigterm_stops_at_once_and_leaves_nothing(fresh: Callable[..., Penstock], workshop: Workshop) -> None:
    running = fresh(environ={"PENSTOCK_WIRE_DRAIN_TIMEOUT": "300"})
    note = workshop.file("stubborn")
    program = workshop.python("stubborn", SLEEPER.format(note=str(note), seconds=600))
    running.deploy("sleeper", program, exec_timeout="10m")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(running.invoke, "sleeper", b"x")
        wait_until(note.exists, "the program to run", 60.0)
        processes = tree(running)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: refuses(running), "the first to be acted on, lest the two become one", 60.0)
        assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 1
        assert cut(call)
    wait_all_dead(processes)


def refuses(running: Penstock) -> bool:
    """Whether it takes no connections any more."""
    try:
        socket.create_connection(running.address).close()
    except ConnectionRefusedError:
        return True
    return False


def cut(call: concurrent.futures.Future[Answer]) -> bool:
    """Whether a request got no answer, or the gateway's when its replica was killed a moment before its worker."""
    try:
        return call.result(60).status == 502
    except OSError:
        return True


def test_an_idle_server_stops_quickly_although_clients_keep_connections(fresh: Callable[..., Penstock]) -> None:
    running = fresh("--workers", "2", environ={"PENSTOCK_WIRE_DRAIN_TIMEOUT": "300"})
    running.deploy("cat", "cat")
    idle = [socket.create_connection(running.address) for _ in range(5)]
    assert running.stop() == 0  # which takes far less than those 300 s, or raises
    for connection in idle:
        connection.close()


def test_ctrl_c_is_as_good_as_sigterm(fresh: Callable[..., Penstock]) -> None:
    running = fresh()
    processes = tree(running)
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(60) == 0
    wait_all_dead(processes)


# What cannot start.


def serve(*flags: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock", "serve", *flags]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
    )


def test_a_second_server_on_the_same_home_is_refused(server: Penstock) -> None:
    got = serve("--home", str(server.home), "--port", "0", "--metrics-port", "0")
    assert got.returncode == 2
    assert "another penstock serves from" in got.stderr
    assert "Traceback" not in got.stderr
    assert server.invoke("cat", b"x").status == 200


def test_a_taken_port_is_refused(server: Penstock, tmp_path: Path) -> None:
    got = serve("--home", str(tmp_path), "--port", str(server.address[1]), "--metrics-port", "0")
    assert got.returncode == 2
    assert "cannot listen on 127.0.0.1" in got.stderr
    assert "--port" in got.stderr
    assert "Traceback" not in got.stderr


def test_a_taken_metrics_port_is_refused(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        got = serve("--home", str(tmp_path), "--port", "0", "--metrics-port", str(port))
    assert got.returncode != 0
    assert str(port) in got.stderr
    assert "Traceback" not in got.stderr


def test_no_auth_is_refused_off_loopback(tmp_path: Path) -> None:
    got = serve("--home", str(tmp_path), "--host", "0.0.0.0", "--no-auth", "--port", "0")
    assert got.returncode == 2
    assert "no_auth" in got.stderr
    assert not (tmp_path / "auth").exists()


def test_no_auth_on_loopback_opens_the_admin_branch(fresh: Callable[..., Penstock]) -> None:
    running = fresh("--no-auth")
    assert running.request("GET", "/system/functions").json() == []
    assert running.stop() == 0


@pytest.mark.parametrize("flags", [["--port", "70000"], ["--workers", "0"], ["--provider", "cloud"]])
def test_settings_that_cannot_be_used_are_refused_in_a_sentence(flags: list[str], tmp_path: Path) -> None:
    got = serve("--home", str(tmp_path), *flags)
    assert got.returncode == 2
    assert flags[0].strip("-") in got.stderr
    assert "Traceback" not in got.stderr


def test_a_home_that_cannot_be_made_is_refused_in_a_sentence() -> None:
    got = serve("--home", "/proc/penstock", "--port", "0", "--metrics-port", "0")
    assert got.returncode != 0
    assert "/proc/penstock" in got.stderr
    assert "Traceback" not in got.stderr


def test_a_home_whose_path_is_very_long_works(fresh: Callable[..., Penstock]) -> None:
    base = Path(tempfile.mkdtemp(prefix="ps-"))
    try:
        running = fresh(home=_deep(base))
        running.deploy("cat", "cat")
        assert running.invoke("cat", b"deep").body == b"deep"
        assert running.stop() == 0
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _deep(base: Path) -> Path:
    home = base / ("d" * 120) / "home"
    home.mkdir(parents=True)
    return home


# A full disk.


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 8 MB for a home."""
    home = Path(tempfile.mkdtemp(prefix="ps-"))
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(home)], capture_output=True, text=True, check=False
    )
    if mount.returncode != 0:
        home.rmdir()
        pytest.skip(f"no file system can be mounted here ({mount.stderr.strip()}); enable with: run as root")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=False)
    home.rmdir()


def fill(path: Path) -> None:
    """Leave not one byte free."""
    size = 1 << 20
    with path.open("wb", buffering=0) as file:
        while size:
            try:
                file.write(b"x" * size)
            except OSError:
                size //= 2


def test_a_full_disk_is_told_and_functions_go_on(fresh: Callable[..., Penstock], small_disk: Path) -> None:
    running = fresh(home=small_disk)
    running.deploy("cat", "cat")
    fill(small_disk / "filler")

    def admin(method: str, path: str, body: dict[str, object]) -> None:
        answer = running.request(method, path, json.dumps(body).encode(), admin=True)
        assert answer.status == 503, (method, path, answer.status, answer.text)
        assert "full" in answer.text or "No space left" in answer.text

    admin("POST", "/system/functions", {"service": "new", "envProcess": "cat"})
    admin("PUT", "/system/functions", {"service": "cat", "envProcess": "cat -"})
    admin("POST", "/system/secrets", {"name": "new", "value": "v" * 5000})
    admin("POST", "/system/namespace/", {"name": "new", "labels": {"openfaas": "1"}})
    for _ in range(20):
        assert running.invoke("cat", b"still here").body == b"still here"
    large = running.invoke("cat", b"z" * 30_000_000)
    assert large.status == 500
    assert "No space left" in large.text
    (small_disk / "filler").unlink()
    assert running.deploy("new", "cat").status == 202
    assert running.invoke("new", b"room again").body == b"room again"
    assert running.stop() == 0


def test_a_server_cannot_start_on_a_full_disk_and_says_why(small_disk: Path) -> None:
    fill(small_disk / "filler")
    got = serve("--home", str(small_disk), "--port", "0", "--metrics-port", "0")
    assert got.returncode != 0
    assert f"admin credentials cannot be kept in {small_disk}/auth: No space left on device" in got.stderr


# Replicas whose zygote is gone.


def test_replicas_that_outlived_their_zygote_end_with_the_server(
    fresh: Callable[..., Penstock], workshop: Workshop
) -> None:
    running = fresh()
    running.deploy("pid", workshop.python("server", SERVER), mode="http")
    program = pid_of(running)
    replica = psutil.Process(program).parent()
    assert replica is not None
    zygote = role(running.process.pid, ZYGOTE)
    zygote.kill()
    wait_dead(zygote.pid)
    assert pid_of(running) == program
    assert running.stop() == 0
    wait_dead(program, replica.pid)
