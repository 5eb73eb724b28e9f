"""Replicas: as many as wanted, none until somebody calls, and updates nobody notices."""

from __future__ import annotations

import concurrent.futures
import json
import threading
import time
from collections.abc import Iterator

import pytest

from tests.e2e.programs import Workshop
from tests.e2e.serving import Answer, Penstock, serving, wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving() as running:
        yield running


def scale(server: Penstock, name: str, replicas: int) -> Answer:
    body = json.dumps({"serviceName": name, "replicas": replicas}).encode()
    return server.request("POST", f"/system/scale-function/{name}", body, admin=True)


def wait_replicas(server: Penstock, name: str, replicas: int) -> None:
    def settled() -> bool:
        status = server.function(name)
        return bool(status.get("replicas", 0) == replicas and status.get("availableReplicas", 0) == replicas)

    wait_until(settled, f"{replicas} replicas of {name}", 60.0)


def test_a_function_is_scaled_up_and_down(server: Penstock) -> None:
    server.deploy("updown", "cat")
    for replicas in (3, 1, 2, 0, 1):
        assert scale(server, "updown", replicas).status == 202
        wait_replicas(server, "updown", replicas)
    assert server.invoke("updown", b"x").body == b"x"


@pytest.mark.parametrize("body", [b"", b"{", b'{"replicas":-1}', b'{"replicas":"2"}', b'{"replicas":1.5}', b"[]"])
def test_a_bad_number_of_replicas_is_refused(server: Penstock, body: bytes) -> None:
    if server.function("steady") is None:
        server.deploy("steady", "cat")
    assert server.request("POST", "/system/scale-function/steady", body, admin=True).status == 400
    assert server.function("steady")["replicas"] == 1


def test_scaling_what_is_not_there_is_404(server: Penstock) -> None:
    assert scale(server, "nothere", 1).status == 404


def test_a_request_wakes_a_function_at_zero(server: Penstock) -> None:
    server.deploy("sleepy", "cat")
    scale(server, "sleepy", 0)
    wait_replicas(server, "sleepy", 0)
    answer = server.invoke("sleepy", b"good morning")
    assert (answer.status, answer.body) == (200, b"good morning")
    assert server.function("sleepy")["replicas"] == 1


def test_falling_asleep_and_waking_again_and_again(server: Penstock) -> None:
    server.deploy("restless", "cat")
    for number in range(10):
        scale(server, "restless", 0)
        answer = server.invoke("restless", str(number).encode())
        assert (answer.status, answer.text) == (200, str(number))


def test_many_requests_to_a_function_at_zero_share_one_start(server: Penstock, workshop: Workshop) -> None:
    starts = workshop.file("starts")
    program = workshop.python(
        "slowstart",
        f"""
        import http.server, os, time
        with open({str(starts)!r}, "a") as file:
            file.write("start\\n")
        time.sleep(0.5)
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200); self.send_header("Content-Length", "2"); self.end_headers(); self.wfile.write(b"ok")
            def log_message(self, *_): pass
        http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
        """,
    )
    server.deploy("shared", program, mode="http")
    scale(server, "shared", 0)
    wait_replicas(server, "shared", 0)
    starts.write_text("")
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: server.request("GET", "/function/shared"), range(30)))
    assert [answer.status for answer in answers] == [200] * 30
    assert starts.read_text() == "start\n"
    assert server.function("shared")["replicas"] == 1


def test_min_replicas_are_started_at_deploy_and_at_waking(server: Penstock) -> None:
    spec = {"service": "pair", "envProcess": "cat", "labels": {"com.openfaas.scale.min": "2"}}
    assert server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    wait_replicas(server, "pair", 2)
    scale(server, "pair", 0)
    wait_replicas(server, "pair", 0)
    assert server.invoke("pair", b"x").status == 200
    wait_replicas(server, "pair", 2)


class Load:
    """Threads that call a function until told to stop, and note every answer."""

    def __init__(self, server: Penstock, name: str, threads: int = 4) -> None:
        self.answers: list[tuple[int, str]] = []
        self._server, self._name = server, name
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                answer = self._server.invoke(self._name, b"body")
            except OSError as error:
                self.answers.append((0, repr(error)))
            else:
                self.answers.append((answer.status, answer.body.decode(errors="replace").strip()))

    def until(self, text: str) -> None:
        wait_until(lambda: any(body == text for _, body in self.answers), f"answers {text!r}", 60.0)

    def more(self, count: int) -> None:
        wanted = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= wanted, f"{count} more answers", 60.0)


@pytest.mark.parametrize("mode", ["serializing", "streaming"])
def test_updates_under_load_fail_no_request(server: Penstock, mode: str) -> None:
    name = f"rolling-{mode}"
    spec = {
        "service": name,
        "envProcess": "echo 0",
        "envVars": {"mode": mode},
        "labels": {"com.openfaas.scale.min": "2"},
    }
    assert server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    wait_replicas(server, name, 2)
    with Load(server, name) as load:
        for number in range(1, 5):
            spec["envProcess"] = f"echo {number}"
            assert server.request("PUT", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
            load.until(str(number))
            load.more(8)  # with the new replicas, most of them with nothing else
    bad = [answer for answer in load.answers if answer[0] != 200]
    assert not bad, bad[:5]


def test_scaling_under_load_fails_no_request(server: Penstock) -> None:
    server.deploy("elastic", "cat")
    with Load(server, "elastic") as load:
        for replicas in (3, 1, 4, 1, 0, 2, 0, 1):
            assert scale(server, "elastic", replicas).status == 202
            time.sleep(0.3)  # under load for a while
    bad = [answer for answer in load.answers if answer != (200, "body")]
    assert not bad, bad[:5]


def test_a_request_in_flight_survives_the_removal_of_its_function(server: Penstock, workshop: Workshop) -> None:
    started = workshop.file("inflight")
    program = workshop.python(
        "lingers", f"import pathlib, time; pathlib.Path({str(started)!r}).touch(); time.sleep(1.5); print('done')"
    )
    server.deploy("lingers", program)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(server.invoke, "lingers")
        wait_until(started.exists, "the program to run", 60.0)
        body = json.dumps({"functionName": "lingers"}).encode()
        assert server.request("DELETE", "/system/functions", body, admin=True).status == 202
        wait_until(lambda: server.invoke("lingers").status == 404, "the removal", 60.0)
        answer = call.result(60)
    assert (answer.status, answer.text) == (200, "done\n")


# Limits on what runs and waits at once; there is one worker here, since each worker has slots of its own.


def limited(server: Penstock, name: str, program: str, labels: dict[str, str]) -> None:
    patience = {"com.penstock.queue.timeout": "10m"}
    spec = {
        "service": name,
        "envProcess": program,
        "envVars": {"exec_timeout": "10m"},
        "labels": {**patience, **labels},
    }
    assert server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    server.wait_ready(name)


def test_a_function_that_takes_one_request_at_a_time_gets_them_one_at_a_time(
    server: Penstock, workshop: Workshop
) -> None:
    program = workshop.python(
        "alone",
        f"""
        import os, time
        path = {str(workshop.file("alone"))!r}
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        time.sleep(0.05)
        os.unlink(path)
        """,
    )
    limited(server, "alone", program, {"com.penstock.max-inflight": "1"})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.invoke("alone", b"x"), range(16)))
    assert [answer.status for answer in answers] == [200] * 16


def test_a_full_queue_is_answered_429(server: Penstock, workshop: Workshop) -> None:
    gate = workshop.file("gate")
    program = workshop.python(
        "slow", f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\nprint('through')"
    )
    limited(server, "slow", program, {"com.penstock.max-inflight": "1", "com.penstock.queue.length": "1"})
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        calls = [pool.submit(server.invoke, "slow", b"x") for _ in range(10)]
        wait_until(lambda: sum(call.done() for call in calls) == 8, "eight to be refused", 60.0)
        gate.touch()
        answers = [call.result(60) for call in calls]
    assert sorted(answer.status for answer in answers) == [200] * 2 + [429] * 8
    assert all(answer.headers["retry-after"] for answer in answers if answer.status == 429)
