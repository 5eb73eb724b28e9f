"""Functions through the public port: deployed over REST as clients do it, called over HTTP."""

from __future__ import annotations

import concurrent.futures
import json
import re
import socket
import time
from collections.abc import Iterator

import pytest

from tests.e2e.programs import Workshop, below
from tests.e2e.serving import Penstock, serving, wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving("--workers", "2") as running:
        running.deploy("env", "env")
        running.deploy("cat", "cat")
        yield running


def post(server: Penstock, spec: dict[str, object], method: str = "POST") -> int:
    return server.request(method, "/system/functions", json.dumps(spec).encode(), admin=True).status


# Life of a function over REST (contract gateway §1.3).


def test_a_function_is_deployed_updated_and_removed_as_clients_do_it(server: Penstock) -> None:
    spec: dict[str, object] = {"service": "life", "image": "none", "envProcess": "echo one", "labels": {}}
    assert post(server, spec, "PUT") == 404
    assert post(server, spec) == 202
    server.wait_ready("life")
    assert server.invoke("life").text == "one\n"
    assert post(server, spec) == 400
    assert post(server, {**spec, "envProcess": "echo two"}, "PUT") == 202
    wait_until(lambda: server.invoke("life").text == "two\n", "the new program")
    body = json.dumps({"functionName": "life", "namespace": "openfaas-fn"}).encode()
    assert server.request("DELETE", "/system/functions", body, admin=True).status == 202
    wait_until(lambda: server.invoke("life").status == 404, "the function to be gone")
    assert server.request("DELETE", "/system/functions", body, admin=True).status == 404
    assert server.function("life") is None


def test_a_function_called_at_once_after_deploy_is_served(server: Penstock) -> None:
    assert post(server, {"service": "eager", "envProcess": "echo here"}) == 202
    wait_until(lambda: server.invoke("eager").status != 404, "the route", 60.0)
    answer = server.invoke("eager")
    assert (answer.status, answer.text) == (200, "here\n")


def test_a_deployment_that_names_only_an_image_is_refused_with_a_reason(server: Penstock) -> None:
    spec = {"service": "imageonly", "image": "ghcr.io/x/y:1"}
    answer = server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
    assert answer.status == 400
    assert "envProcess" in answer.text or "program" in answer.text


@pytest.mark.parametrize("name", ["", "..", "a/b", "a%2fb", "Upper", "é", "a" * 64, "-a", "a_b", "a.b", "a\u0000"])
def test_a_bad_name_cannot_be_deployed(server: Penstock, name: str) -> None:
    assert post(server, {"service": name, "envProcess": "cat"}) == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"x"',
        b"{",
        b'{"service":1}',
        b'{"service":"x","labels":[]}',
        b"\xff\xfe",
        b"{" * 50000,
    ],
)
def test_a_body_that_is_no_deployment_is_refused(server: Penstock, body: bytes) -> None:
    assert server.request("POST", "/system/functions", body, admin=True).status == 400


def test_the_admin_branch_wants_credentials_and_functions_do_not(server: Penstock) -> None:
    for path in (
        "/system/functions",
        "/system/info",
        "/system/secrets",
        "/system/logs?name=cat",
        "/system/function/cat",
    ):
        answer = server.request("GET", path)
        assert (answer.status, answer.text) == (401, "invalid credentials")
        assert answer.headers["www-authenticate"] == 'Basic realm="Restricted"'
    assert server.invoke("cat", b"x").status == 200
    assert server.request("GET", "/healthz").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "//system/functions",
        "/./system/functions",
        "/x/../system/functions",
        "/system//functions",
        "/%73ystem/functions",
        "/function/../system/functions",
        "/function/cat/../../system/functions",
        "/SYSTEM/functions",
        "/system/functions/",
    ],
)
def test_no_spelling_of_a_path_opens_the_admin_branch(server: Penstock, path: str) -> None:
    answer = server.request("GET", path)
    assert answer.status in (401, 404, 301, 405, 200)
    assert b'"envProcess"' not in answer.body
    assert b'"availableReplicas"' not in answer.body


def test_metrics_count_invocations_of_all_workers(server: Penstock) -> None:
    server.deploy("counted", "true")
    for _ in range(20):
        assert server.invoke("counted").status == 200
    server.deploy("fails", "false")
    assert server.invoke("fails").status == 500
    counted, fails = 'function_name="counted.openfaas-fn"', 'function_name="fails.openfaas-fn"'
    _wait_metric(server, "gateway_function_invocation_total", f'code="200",{counted}', 20)
    _wait_metric(server, "gateway_function_invocation_total", f'code="500",{fails}', 1)
    _wait_metric(server, "gateway_function_invocation_started", counted, 20)
    _wait_metric(server, "gateway_functions_seconds_count", f'code="200",{counted}', 20)
    _wait_metric(server, "gateway_service_count", counted, 1)


def _wait_metric(server: Penstock, name: str, labels: str, value: float) -> None:
    """A scrape does not wait for a worker that is late, so that the next one may know more."""
    wait_until(lambda: _metric(server, name, labels) == value, f"{name} of {labels} to be {value:g}", 60.0)


def _metric(server: Penstock, name: str, labels: str) -> float:
    port = re.search(r"metrics on port (\d+)", server.printed())
    assert port
    with socket.create_connection(("127.0.0.1", int(port[1]))) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        text = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    wanted = set(labels.split(","))
    for line in text.splitlines():
        match = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line.strip())
        if match and match[1] == name and set(match[2].split(",")) == wanted:
            return float(match[3])
    return -1.0


# What a function sees.


def test_a_program_gets_body_method_path_query_and_fields(server: Penstock) -> None:
    answer = server.request("PUT", "/function/env/a%2Fb//c?x=1&y=%20", b"body", {"X-Mine": "7", "X-Call-Id": "mine"})
    lines = answer.text.splitlines()
    assert "Http_Method=PUT" in lines
    assert "Http_Path=/a/b/c" in lines
    assert "Http_Query=x=1&y=%20" in lines
    assert "Http_X_Mine=7" in lines
    assert "Http_X_Call_Id=mine" in lines
    assert "Http_ContentLength=4" in lines or "Http_Content_Length=4" in lines


def test_a_program_does_not_see_the_platforms_secrets(server: Penstock) -> None:
    text = server.invoke("env").text
    assert server.password not in text
    for word in ("PENSTOCK_SERVE_SETTINGS", "PENSTOCK_LIFELINE_FD", "PENSTOCK_RUN_ID", "basic-auth"):
        assert word not in text


def test_exit_codes_become_statuses(server: Penstock, workshop: Workshop) -> None:
    server.deploy("three", workshop.python("three", "import sys; print('why'); sys.exit(3)"))
    answer = server.invoke("three")
    assert answer.status == 500
    assert server.deploy("missing", "/nonexistent/program").status in (202, 400)


def test_concurrent_calls_get_their_own_answers(server: Penstock) -> None:
    def call(number: int) -> bool:
        body = f"{number} ".encode() * 1000
        return server.invoke("cat", body).body == body

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(200)))


def test_both_workers_serve(server: Penstock) -> None:
    workers = below(server.process.pid, "penstock.gateway.worker")
    assert len(workers) == 2
    before = {worker.pid: sum(worker.cpu_times()[:2]) for worker in workers}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for _ in range(50):
            server.request("GET", "/function/nosuch")
        if all(sum(worker.cpu_times()[:2]) > before[worker.pid] for worker in workers):
            return
    raise AssertionError("one worker did nothing")


def test_a_namespace_holds_functions_of_its_own(server: Penstock) -> None:
    body = json.dumps({"name": "blue", "labels": {"openfaas": "1"}, "annotations": {"openfaas": "1"}}).encode()
    assert server.request("POST", "/system/namespace/", body, admin=True).status == 201
    assert server.request("POST", "/system/namespace/", body, admin=True).status == 409
    assert server.request("GET", "/system/namespaces", admin=True).json() == ["openfaas-fn", "blue"]
    assert post(server, {"service": "cat", "namespace": "blue", "envProcess": "echo blue"}) == 202
    wait_until(lambda: server.invoke("cat.blue").text == "blue\n", "the function in its namespace", 60.0)
    assert server.invoke("cat", b"default").text == "default"
    listed = server.request("GET", "/system/functions?namespace=blue", admin=True).json()
    assert [function["name"] for function in listed] == ["cat"]
    refused = server.request("DELETE", "/system/namespace/blue", body, admin=True)
    assert refused.status == 400
    gone = json.dumps({"functionName": "cat", "namespace": "blue"}).encode()
    assert server.request("DELETE", "/system/functions", gone, admin=True).status == 202
    wait_until(lambda: server.request("DELETE", "/system/namespace/blue", body, admin=True).status == 202, "its end")
    assert server.request("GET", "/system/namespaces", admin=True).json() == ["openfaas-fn"]
    assert server.invoke("cat", b"still").text == "still"


# Limits that a function sets for itself.


@pytest.mark.parametrize("label", ["com.penstock.max-inflight", "com.penstock.queue.length", "com.penstock.timeout"])
@pytest.mark.parametrize("value", ["-1", "many", "1.5.2"])
def test_a_limit_that_cannot_be_read_is_refused(server: Penstock, label: str, value: str) -> None:
    assert post(server, {"service": "badlimit", "envProcess": "cat", "labels": {label: value}}) == 400


def test_a_timeout_label_cuts_at_the_gateway_and_names_it(server: Penstock) -> None:
    spec: dict[str, object] = {
        "service": "sleeps",
        "envProcess": "sleep 30",
        "labels": {"com.penstock.timeout": "500ms"},
    }
    assert post(server, spec) == 202
    server.wait_ready("sleeps")
    answer = server.invoke("sleeps")
    assert (answer.status, answer.headers["x-openfaas-internal"]) == (504, "gateway")
    assert "sleeps.openfaas-fn" in answer.text
    wait_until(lambda: not below(server.process.pid, "sleep", "30"), "the program to be ended", 60.0)


def test_a_large_body_for_nobody_is_answered_and_the_next_request_served(server: Penstock) -> None:
    answer = server.invoke("nosuch", b"z" * 20_000_000)
    assert answer.status == 404
    assert server.invoke("cat", b"next").body == b"next"


def test_a_body_that_waits_for_100_continue_wakes_a_sleeping_function(server: Penstock) -> None:
    server.deploy("dozes", "cat")
    server.request("POST", "/system/scale-function/dozes", b'{"serviceName":"dozes","replicas":0}', admin=True)
    wait_until(lambda: server.function("dozes").get("replicas", 0) == 0, "it to sleep", 60.0)
    with socket.create_connection(server.address, timeout=120) as connection:
        connection.sendall(
            b"POST /function/dozes HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"body")
        received = b""
        while not received.endswith(b"body"):
            received += connection.recv(1000)
        assert received.startswith(b"HTTP/1.1 200 ")


def test_whoever_asks_is_told_where_the_time_of_a_request_went(server: Penstock) -> None:
    server.deploy("tells", "env")
    server.request("POST", "/system/scale-function/tells", b'{"serviceName":"tells","replicas":0}', admin=True)
    wait_until(lambda: server.function("tells").get("replicas", 0) == 0, "it to sleep", 60.0)
    woken, again = (server.invoke("tells", headers={"X-Server-Timing": "1"}) for _ in range(2))
    pattern = r"queue;dur=(\d+\.\d), wake;dur=(\d+\.\d), function;dur=(\d+\.\d)"
    for answer, wakes in ((woken, True), (again, False)):
        found = re.fullmatch(pattern, answer.headers["server-timing"])
        assert found, answer.headers
        assert (float(found[2]) > 0, float(found[3]) > 0) == (wakes, True)
        assert "server_timing" not in answer.text.lower()
    assert "server-timing" not in server.invoke("tells").headers


def test_a_function_can_be_called_as_soon_as_its_deployment_is_answered(server: Penstock) -> None:
    for number in range(10):
        spec = b'{"service":"prompt-%d","envProcess":"cat"}' % number
        assert server.request("POST", "/system/functions", spec, admin=True).status == 202
        assert server.invoke(f"prompt-{number}", b"at once").body == b"at once"
