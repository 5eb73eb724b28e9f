"""Programs that misbehave and requests that mean harm: each gets its answer, nothing leaks, nobody else notices."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.e2e.programs import Workshop, alive, below, descendants, wait_dead
from tests.e2e.serving import Penstock, serving, wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving("--log-level", "warning") as running:
        running.deploy("cat", "cat")
        running.deploy("stream", "cat", mode="streaming")
        yield running


@pytest.fixture(autouse=True)
def others_are_not_disturbed(server: Penstock) -> Iterator[None]:
    """While each test runs, another function is called over and over and must answer well."""
    stop = threading.Event()
    bad: list[str] = []

    def watch() -> None:
        while not stop.is_set():
            try:
                answer = server.invoke("cat", b"still here")
                if (answer.status, answer.body) != (200, b"still here"):
                    bad.append(f"{answer.status} {answer.body[:200]!r}")
            except OSError as error:
                bad.append(repr(error))
            stop.wait(0.05)

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    stop.set()
    thread.join()
    assert not bad


def raw(server: Penstock, data: bytes, timeout: float = 60.0) -> bytes:
    """Send bytes and read until the gateway closes."""
    with socket.create_connection(server.address, timeout=timeout) as connection:
        received = b""
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            connection.sendall(data)  # of which the gateway need not read more than it refuses
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65536):
                received += piece
        return received


def census(server: Penstock) -> tuple[int, dict[str, int]]:
    """Number of processes, and open descriptors by process."""
    processes = [psutil.Process(server.process.pid), *descendants(server.process.pid)]
    fds = {}
    for process in processes:
        with contextlib.suppress(psutil.Error):
            fds[f"{process.pid} {process.name()}"] = process.num_fds()
    return len(processes), fds


# Programs.


def test_a_program_that_does_not_exist_is_told_and_harms_nobody(server: Penstock) -> None:
    answer = server.request(
        "POST", "/system/functions", b'{"service":"ghost","envProcess":"/nonexistent/ghost"}', admin=True
    )
    assert answer.status in (202, 400)
    if answer.status == 202:
        called = server.invoke("ghost", b"x")
        assert called.status >= 500
        assert called.body


def test_a_program_that_exits_at_once_answers_by_its_exit_code(server: Penstock) -> None:
    server.deploy("quick", "true")
    server.deploy("fails", "false")
    assert server.invoke("quick", b"x" * 3_000_000).status == 200
    assert server.invoke("fails", b"x" * 3_000_000).status == 500


@pytest.mark.parametrize("mode", ["serializing", "streaming"])
def test_a_program_that_never_reads_its_input_still_answers(server: Penstock, workshop: Workshop, mode: str) -> None:
    name = f"deaf-{mode}"
    server.deploy(name, workshop.python("deaf", "import time; time.sleep(0.2); print('did not listen')"), mode=mode)
    answer = server.invoke(name, b"x" * 300_000)
    assert (answer.status, answer.text) == (200, "did not listen\n")


@pytest.mark.parametrize("mode", ["serializing", "streaming"])
def test_a_timeout_kills_the_program_and_its_descendants(server: Penstock, workshop: Workshop, mode: str) -> None:
    note = workshop.file(f"family-{mode}")
    program = workshop.python(
        f"family-{mode}",
        f"""
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c",
            "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
            "c = subprocess.Popen(['sleep', '600']); print(os.getpid(), c.pid, flush=True); time.sleep(600)"],
            stdout=subprocess.PIPE)
        line = child.stdout.readline().decode()
        open({str(note)!r} + ".new", "w").write(f"{{os.getpid()}} {{line}}")
        os.rename({str(note)!r} + ".new", {str(note)!r})
        time.sleep(600)
        """,
    )
    server.deploy(f"family-{mode}", program, mode=mode, exec_timeout="3s")

    def overdue() -> bool:
        answer = server.invoke(f"family-{mode}", b"x")
        assert answer.status == (500 if mode == "serializing" else 504)
        assert answer.headers["x-openfaas-internal"]
        return note.exists()  # a busy machine may be too slow to start all three in that time

    wait_until(overdue, "a timeout of the whole family")
    pids = [int(word) for word in note.read_text().split()]
    assert len(pids) == 3
    wait_dead(*pids)


@pytest.mark.parametrize("mode", ["serializing", "streaming"])
def test_a_client_that_leaves_kills_the_program_and_its_children(
    server: Penstock, workshop: Workshop, mode: str
) -> None:
    note = workshop.file(f"left-{mode}")
    program = workshop.python(
        f"left-{mode}",
        f"""
        import os, subprocess, sys, time
        child = subprocess.Popen(["sleep", "600"])
        open({str(note)!r} + ".new", "w").write(f"{{os.getpid()}} {{child.pid}}")
        os.rename({str(note)!r} + ".new", {str(note)!r})
        sys.stdin.buffer.read()
        time.sleep(600)
        """,
    )
    server.deploy(f"left-{mode}", program, mode=mode, exec_timeout="10m")
    with socket.create_connection(server.address) as connection:
        connection.sendall(f"POST /function/left-{mode} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".encode())
        wait_until(note.exists, "the program to run", 60.0)
    wait_dead(*[int(word) for word in note.read_text().split()])


@pytest.mark.parametrize("mode", ["serializing", "streaming"])
def test_a_program_that_leaves_a_child_behind_answers_at_once_and_the_child_ends(
    server: Penstock, workshop: Workshop, mode: str
) -> None:
    note = workshop.file(f"orphan-{mode}")
    program = workshop.python(
        f"orphan-{mode}",
        f"""
        import os, subprocess
        child = subprocess.Popen(["sleep", "600"])
        open({str(note)!r}, "w").write(str(child.pid))
        print("parent is done")
        """,
    )
    server.deploy(f"orphan-{mode}", program, mode=mode, exec_timeout="10m")
    answer = server.invoke(f"orphan-{mode}", b"x")  # which gives up long before the ten minutes
    assert "parent is done" in answer.text
    wait_dead(int(note.read_text()))


def test_a_child_that_hid_in_a_session_of_its_own_does_not_outlive_the_function(
    server: Penstock, workshop: Workshop
) -> None:
    note = workshop.file("daemon")
    program = workshop.python(
        "daemon",
        f"""
        import os, subprocess
        child = subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        open({str(note)!r}, "w").write(str(child.pid))
        print("daemonised")
        """,
    )
    server.deploy("daemon", program)
    assert server.invoke("daemon", b"x").text == "daemonised\n"
    pid = int(note.read_text())
    server.request("DELETE", "/system/functions", b'{"functionName":"daemon"}', admin=True)
    wait_dead(pid)


def test_endless_output_streams_and_ends_with_its_client(server: Penstock) -> None:
    server.deploy("endless", "yes", mode="streaming", exec_timeout="10m")
    with socket.create_connection(server.address) as connection:
        connection.sendall(b"POST /function/endless HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        received = 0
        while received < 50_000_000:
            received += len(connection.recv(1 << 20))
        [yes] = _programs(server, "yes")
        assert max(_rss(process) for process in descendants(server.process.pid)) < 150 << 20
    wait_dead(yes.pid)


def test_a_large_answer_of_a_buffering_function_does_not_fill_the_memory(server: Penstock, workshop: Workshop) -> None:
    size = 300 << 20
    program = workshop.python(
        "large", f"import os\nblock = b'x' * (1 << 20)\nfor _ in range({size >> 20}): os.write(1, block)"
    )
    server.deploy("large", program)
    peak = _Peak(server)
    received = 0
    with peak, socket.create_connection(server.address) as connection:
        connection.sendall(
            b"POST /function/large HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )
        while piece := connection.recv(1 << 20):
            received += len(piece)
    assert received > size
    assert peak.growth < 80 << 20


def test_a_client_that_does_not_read_stops_the_program_and_not_the_memory(server: Penstock) -> None:
    server.deploy("firehose", "yes", mode="streaming", exec_timeout="10m")
    peak = _Peak(server)
    with peak, socket.create_connection(server.address) as connection:
        connection.sendall(b"POST /function/firehose HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        yes = wait_until(lambda: _programs(server, "yes"), "the program", 60.0)[0]
        wait_until(lambda: yes.status() == psutil.STATUS_SLEEPING and _idle(yes), "it to be stopped", 60.0)
    assert peak.growth < 40 << 20
    wait_dead(yes.pid)


def _idle(process: psutil.Process) -> bool:
    before = process.cpu_times().system
    time.sleep(0.3)  # the time over which it must not have worked
    return bool(process.cpu_times().system == before)


class _Peak:
    """Most memory that control, workers and replicas took together beyond what they had, sampled."""

    def __init__(self, server: Penstock) -> None:
        self._processes = below(server.process.pid, "penstock")
        self._base = self._sum()
        self.growth = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sum(self) -> int:
        return sum(_rss(process) for process in self._processes)

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            self.growth = max(self.growth, self._sum() - self._base)


def _rss(process: psutil.Process) -> int:
    """Memory of a process; 0 when it has ended."""
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


# Limits.


def deploy_limited(server: Penstock, name: str, program: str, **more: object) -> None:
    spec = {"service": name, "envProcess": program, **more}
    assert server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    server.wait_ready(name)


def test_a_program_beyond_its_memory_limit_fails_alone(server: Penstock, workshop: Workshop) -> None:
    program = workshop.python("hungry", "b = bytearray(500 << 20); print('f', 'ed', sep='')")
    deploy_limited(server, "hungry", program, limits={"memory": "128Mi"})
    answer = server.invoke("hungry", b"")
    assert answer.status == 500
    assert "MemoryError" in answer.text
    assert server.invoke("hungry", b"").status == 500
    deploy_limited(server, "fed", program, limits={"memory": "1Gi"})
    assert server.invoke("fed", b"").text == "fed\n"


def test_a_program_beyond_its_processor_time_is_ended(server: Penstock, workshop: Workshop) -> None:
    program = workshop.python("spins", "while True: pass")
    labels = {"com.penstock.limit.cpu-seconds": "1"}
    deploy_limited(server, "spins", program, labels=labels, envVars={"exec_timeout": "10m"})
    assert server.invoke("spins", b"").status == 500


def test_a_program_beyond_its_open_files_fails_alone(server: Penstock, workshop: Workshop) -> None:
    program = workshop.python("opens", "fs = [open('/dev/null') for _ in range(200)]; print('opened')")
    deploy_limited(server, "opens", program, labels={"com.penstock.limit.open-files": "50"})
    answer = server.invoke("opens", b"")
    assert answer.status == 500
    server.deploy("opens-few", program)
    assert server.invoke("opens-few", b"").text == "opened\n"


# Requests.

ATTACKS = {
    "te-and-cl": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
    "same length twice": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd",
    "te twice": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
    "te hidden": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "te odd": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "length signed": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd",
    "length negative": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    "length hex": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nContent-Length: 0x4\r\n\r\nabcd",
    "length huge": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabcd",
    "space before colon": b"GET /function/cat HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n",
    "name with space": b"GET /function/cat HTTP/1.1\r\nHost: a\r\nX A: b\r\n\r\n",
    "obs-fold": b"GET /function/cat HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n",
    "bare lf": b"GET /function/cat HTTP/1.1\nHost: a\n\n",
    "bare cr": b"GET /function/cat HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n",
    "nul": b"GET /function/cat HTTP/1.1\r\nHost: a\r\nX-A: b\x00c\r\n\r\n",
    "nul in target": b"GET /function/cat\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "no host": b"GET /function/cat HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /function/cat HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "no version": b"GET /function/cat\r\n\r\n",
    "http/3": b"GET /function/cat HTTP/3.0\r\nHost: a\r\n\r\n",
    "connect": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n",
    "chunk size": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
    "chunk size space": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n 2\r\nab\r\n0\r\n\r\n",
    "chunk size minus": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\nab\r\n0\r\n\r\n",
    "chunk size overflow": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    + b"f" * 17
    + b"\r\nab\r\n0\r\n\r\n",
    "chunk end": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabX\r\n0\r\n\r\n",
    "chunk lf": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\nab\n0\n\n",
    "expectation": b"POST /function/cat HTTP/1.1\r\nHost: a\r\nExpect: 200-maybe\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("function", ["cat", "stream"])
def test_a_request_whose_framing_is_in_doubt_gets_one_error_and_the_connection_ends(
    server: Penstock, name: str, function: str
) -> None:
    hidden = b"GET /function/cat/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    answer = raw(server, ATTACKS[name].replace(b"/function/cat", f"/function/{function}".encode()) + hidden)
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer[9:10] in b"45", answer[:200]
    assert len(re.findall(rb"HTTP/1\.1 \d\d\d ", answer)) == 1, answer


def test_limits_of_size_have_an_answer(server: Penstock) -> None:
    long_target = b"GET /function/cat?" + b"q" * 70_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"
    assert raw(server, long_target).startswith(b"HTTP/1.1 414 ")
    large_head = b"GET /function/cat HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * (2 << 20) + b"\r\n\r\n"
    assert raw(server, large_head).startswith(b"HTTP/1.1 431 ")
    many_fields = b"GET /function/cat HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000 + b"\r\n"
    assert raw(server, many_fields).startswith(b"HTTP/1.1 431 ")


def test_a_truncated_body_gets_no_whole_answer_and_ends_the_program(server: Penstock) -> None:
    server.deploy("waits", "cat", mode="streaming", exec_timeout="10m")
    for head in (b"Content-Length: 1000\r\n\r\nshort", b"Transfer-Encoding: chunked\r\n\r\nff\r\nshort"):
        with socket.create_connection(server.address) as connection:
            connection.sendall(b"POST /function/waits HTTP/1.1\r\nHost: a\r\n" + head)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while piece := connection.recv(65536):
                    answer += piece
        # What `cat` had been given it may have answered already; but the answer must not look whole.
        assert b" 200 " not in answer or not answer.endswith(b"0\r\n\r\n")
    wait_until(lambda: not _programs(server, "cat"), "its programs to end", 60.0)


def test_a_slow_head_does_not_hold_up_others(server: Penstock) -> None:
    connections = [socket.create_connection(server.address) for _ in range(50)]
    for connection in connections:
        connection.sendall(b"GET /function/cat HTTP/1.1\r\nHos")
    assert server.invoke("cat", b"quick").body == b"quick"
    for connection in connections:
        connection.sendall(b"t: a\r\nConnection: close\r\n\r\n")
    for connection in connections:
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        connection.close()


# Nothing is left.


def test_after_a_storm_descriptors_and_processes_are_what_they_were(server: Penstock) -> None:
    server.deploy("slow", "sleep 30", exec_timeout="10m")
    for function in ("cat", "stream"):
        server.invoke(function, b"x")
    wait_until(lambda: not _programs(server, "sleep", "yes"), "programs of earlier tests to end", 60.0)
    before = census(server)

    def storm(number: int) -> None:
        with contextlib.suppress(OSError), socket.create_connection(server.address, timeout=60) as connection:
            function = ("cat", "stream", "slow", "nosuch")[number % 4]
            body = b"z" * 2000
            length = len(body) + (5000 if number % 3 == 0 else 0)
            connection.sendall(
                f"POST /function/{function} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n".encode()
            )
            connection.sendall(body)
            if number % 5 and function != "slow":
                connection.settimeout(0.3)
                connection.recv(1000)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        list(pool.map(storm, range(300)))

    def calm() -> bool:
        processes, fds = census(server)
        # One more, because the zygote may keep a process in reserve.
        return processes <= before[0] + 1 and all(fds[name] <= before[1].get(name, 0) + 12 for name in fds)

    try:
        wait_until(calm, "descriptors and processes to settle")
    except TimeoutError:
        raise AssertionError(f"before {before}, after {census(server)}") from None


def _programs(server: Penstock, *names: str) -> list[psutil.Process]:
    """Programs that functions are running."""
    found = []
    for process in descendants(server.process.pid):
        with contextlib.suppress(psutil.Error):
            if alive(process.pid) and process.name() in names:
                found.append(process)
    return found
