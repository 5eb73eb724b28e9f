"""Real programs strung together by a URL: what a shell would answer, while they run, and when one of them fails or leaves."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import random
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from penstock.examples import examples_directory, find_program
from tests.conftest import debian_path
from tests.e2e.programs import Workshop, below, wait_dead
from tests.e2e.serving import Penstock, serving, wait_until

MIB = 1 << 20
LARGE = 64 * MIB
WORDS = b"".join(random.Random(7).choices([b"pear\n", b"fig\n", b"plum\n"], k=5000))

LARGE_THEN_FAIL = """
import sys
for _ in range(64):
    sys.stdout.buffer.write(bytes(1 << 20))
sys.exit(3)
"""
HALF = """
import sys
sys.stdout.buffer.write(sys.stdin.buffer.read(10)); sys.stdout.flush()
sys.stdin.buffer.read()
sys.exit(3)
"""


def shell(command: str, data: bytes) -> bytes:
    """What a shell answers."""
    done = subprocess.run(["sh", "-c", command], input=data, capture_output=True, check=True, timeout=120)
    return done.stdout


@pytest.fixture(scope="module")
def server(workshop: Workshop) -> Iterator[Penstock]:
    """Programs that every system has, each in the mode that passes bytes as they come."""
    programs = {
        "sort": "sort",
        "uniq": "uniq -c",
        "number": "sort -rn",
        "upper": "tr a-z A-Z",
        "cat": "cat",
        "head": "head -n 3",
        "yes": "yes",
        "sleep": "sleep 1000",
        "fail": "false",
        "half": workshop.python("half", HALF),
        "large": workshop.python("large", LARGE_THEN_FAIL),
    }
    with serving("--workers", "2") as running:
        for name, program in programs.items():
            assert running.deploy(name, program, mode="streaming", exec_timeout="600s").status == 202
        assert running.deploy("count", "wc -c").status == 202  # answers when it has read all
        yield running


def test_a_pipeline_answers_as_a_shell_does(server: Penstock) -> None:
    answer = server.invoke("sort|uniq|number", WORDS)
    assert answer.status == 200
    assert answer.body == shell("sort | uniq -c | sort -rn", WORDS)
    assert answer.body.count(b"\n") == 3


@pytest.mark.service("curl")
def test_curl_needs_no_encoding(server: Penstock) -> None:
    command = [find_program("curl", debian_path()), "-sS", "--data-binary", "@-", f"{server.base}/function/sort|uniq"]
    done = subprocess.run(command, input=WORDS, capture_output=True, check=True, timeout=120)
    assert done.stdout == shell("sort | uniq -c", WORDS)


def test_the_command_line_gives_the_same_bytes_for_a_pipe_of_calls_and_a_pipeline(server: Penstock) -> None:
    first = server.cli("invoke", "sort", stdin=WORDS)
    second = server.cli("invoke", "uniq", stdin=first.stdout)
    whole = server.cli("invoke", "sort|uniq", stdin=WORDS)
    assert (first.returncode, second.returncode, whole.returncode) == (0, 0, 0), whole.stderr
    assert whole.stdout == second.stdout == shell("sort | uniq -c", WORDS)


@pytest.mark.service("curl")
def test_a_large_body_passes_through_all_stages_byte_for_byte(server: Penstock, workshop: Workshop) -> None:
    data = random.Random(1).randbytes(MIB) * (LARGE // MIB)
    assert server.invoke("cat|cat|count", data).body.strip() == str(LARGE).encode()
    path = workshop.file("large")
    path.write_bytes(data)
    curl = find_program("curl", debian_path())  # reads while it sends, as one must here
    command = [curl, "-sSf", "-X", "POST", "-T", str(path), f"{server.base}/function/cat|cat|cat"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=300)
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()


def test_the_rest_of_a_large_body_passes_the_gateway_at_both_ends_only(server: Penstock) -> None:
    """What passed each time would have been read four times by the gateway's workers, of which this is the sum."""
    assert server.invoke("cat|cat|cat|count", b"x").status == 200
    before = read_by_workers(server)
    assert server.invoke("cat|cat|cat|count", bytes(LARGE)).body.strip() == str(LARGE).encode()
    assert read_by_workers(server) - before < 3 * LARGE


def read_by_workers(server: Penstock) -> int:
    """Bytes that the gateway's workers have read from anywhere."""
    workers = below(server.process.pid, "penstock.gateway.worker")
    assert workers
    counters = [Path(f"/proc/{worker.pid}/io").read_text("ascii") for worker in workers]
    return sum(int(line.split()[1]) for text in counters for line in text.splitlines() if line.startswith("rchar:"))


def test_a_program_that_fails_after_a_large_output_is_never_a_whole_answer(server: Penstock) -> None:
    answer = server.invoke("large|count", b"")
    assert (answer.status, answer.headers["x-pipeline-stage"]) == (502, "1/2 large")
    answer = server.invoke("large|sort|cat", b"")
    assert (answer.status, answer.headers["x-pipeline-stage"]) == (502, "1/3 large")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        server.invoke("large|cat|cat", b"")
    wait_until(lambda: not below(server.process.pid, "sort"), "the end of `sort`")


def test_the_answer_begins_before_the_request_has_ended(server: Penstock) -> None:
    with socket.create_connection(server.address, 120) as connection:
        connection.sendall(
            b"POST /function/cat|upper.openfaas-fn|cat HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        # `tr` writes what it has when its buffer is full or its input ends; `cat` at once.
        connection.sendall(b"10000\r\n" + b"a" * 0x10000 + b"\r\n")
        received = b""
        while b"\r\n\r\n" not in received or b"AAAA" not in received:
            piece = connection.recv(65536)
            assert piece, received
            received += piece
        connection.sendall(b"0\r\n\r\n")
        while not received.endswith(b"0\r\n\r\n"):
            piece = connection.recv(65536)
            assert piece, "the answer was cut"
            received += piece
    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b"A") >= 0x10000


def test_a_program_that_has_enough_ends_those_before_it(server: Penstock) -> None:
    answer = server.invoke("yes|cat|head", b"")
    assert (answer.status, answer.body) == (200, b"y\ny\ny\n")
    wait_until(lambda: not below(server.process.pid, "yes"), "the end of `yes`")


def test_a_program_that_fails_ends_the_pipeline_with_its_answer(server: Penstock) -> None:
    answer = server.invoke("cat|fail|cat", b"data")
    assert (answer.status, answer.headers["x-pipeline-stage"]) == (500, "2/3 fail")
    assert answer.body.strip() == b"exit status 1"
    assert answer.headers["x-pipeline-timings"].startswith("cat;dur=")


def test_a_program_that_fails_after_half_its_output_is_never_a_whole_answer(server: Penstock) -> None:
    answer = server.invoke("half|count", b"x" * 1000)
    assert (answer.status, answer.headers["x-pipeline-stage"]) == (502, "1/2 half")
    try:
        answer = server.invoke("cat|half", b"x" * 1000)
    except (http.client.IncompleteRead, ConnectionError):
        return  # what was sent already is cut
    assert answer.status >= 500, answer  # unless the failure was known before the first byte


def programs(server: Penstock, name: str) -> list[int]:
    """Programs of functions that run with this command line."""
    found = []
    for process in below(server.process.pid, name):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if process.cmdline() == [name]:
                found.append(process.pid)
    return found


def test_a_client_that_leaves_takes_all_programs_along(server: Penstock) -> None:
    connection = socket.create_connection(server.address, 120)
    connection.sendall(
        b"POST /function/cat|cat|sleep HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndata\r\n"
    )
    sleeping = wait_until(lambda: below(server.process.pid, "sleep", "1000"), "all stages to run")
    connection.close()
    wait_dead(*(process.pid for process in sleeping))
    wait_until(lambda: not programs(server, "cat"), "the end of `cat`")


def test_a_client_that_leaves_a_large_answer_takes_all_programs_along(server: Penstock) -> None:
    with socket.create_connection(server.address, 120) as connection:
        connection.sendall(b"POST /function/yes|cat|cat HTTP/1.1\r\nHost: p\r\nContent-Length: 0\r\n\r\n")
        received = 0
        while received < LARGE:
            piece = connection.recv(MIB)
            assert piece, "the answer was cut"
            received += len(piece)
        assert programs(server, "yes")
        assert programs(server, "cat")
    wait_until(lambda: not programs(server, "yes"), "the end of `yes`")
    wait_until(lambda: not programs(server, "cat"), "the end of `cat`")


def test_a_deadline_ends_all_programs(server: Penstock) -> None:
    answer = server.invoke("cat|sleep|cat", b"x", {"X-Timeout": "2s"})
    assert answer.status == 504
    assert answer.headers["x-pipeline-stage"].endswith("/3 sleep") or answer.headers["x-pipeline-stage"] == "1/3 cat"
    wait_until(lambda: not below(server.process.pid, "sleep", "1000"), "the end of `sleep`")


def test_functions_at_rest_are_woken_by_one_call(server: Penstock) -> None:
    for name in ("sort", "uniq"):
        body = f'{{"serviceName": "{name}", "replicas": 0}}'.encode()
        assert server.request("POST", f"/system/scale-function/{name}", body, admin=True).status == 202
        wait_until(lambda name=name: not server.function(name).get("instances"), f"no replica of {name}")  # type: ignore[misc]
    assert server.invoke("sort|uniq", WORDS).body == shell("sort | uniq -c", WORDS)
    for name in ("sort", "uniq"):
        server.wait_ready(name)


def test_stages_are_counted_as_calls_of_their_functions(server: Penstock) -> None:
    def count(name: str) -> int:
        listed = server.request("GET", "/system/functions", admin=True).json()
        return next(int(each.get("invocationCount", 0)) for each in listed if each["name"] == name)

    before = {name: count(name) for name in ("cat", "count")}
    server.invoke("cat|cat|count", b"abc")
    assert {name: count(name) - before[name] for name in before} == {"cat": 2, "count": 1}


def test_many_pipelines_at_once(server: Penstock) -> None:
    failures: list[str] = []

    def ask(number: int) -> None:
        data = f"{number}\n".encode() * (1000 + number)
        answer = server.invoke("cat|sort|count", data)
        if answer.body.strip() != str(len(data)).encode():
            failures.append(f"{number}: {answer}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.service("convert", "tesseract")
def test_a_picture_of_text_is_enlarged_and_read(server: Penstock) -> None:
    convert, tesseract = (find_program(name, debian_path()) for name in ("convert", "tesseract"))
    assert server.deploy("enlarge", f"{convert} - -resize 200% png:-").status == 202
    assert server.deploy("read", f"{tesseract} - -").status == 202
    picture = (examples_directory() / "input" / "sentence.png").read_bytes()
    answer = server.invoke("enlarge|read|upper", picture)
    assert answer.status == 200, answer
    directly = server.invoke("upper", server.invoke("read", server.invoke("enlarge", picture).body).body)
    assert answer.body == directly.body
    assert answer.body.strip()


@pytest.mark.service("jq")
def test_json_is_taken_apart_and_sorted(server: Penstock) -> None:
    assert server.deploy("names", f"{find_program('jq', debian_path())} -r .[].name").status == 202
    answer = server.invoke("names|sort", b'[{"name": "wren"}, {"name": "owl"}]')
    assert answer.body == b"owl\nwren\n"
