"""Python handlers through the whole platform: deployed by a file's path, called through the gateway, and misbehaving."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving, wait_until

HANDLER = """
import os, threading, time

asked = threading.Semaphore(0)

def handle(event, context):
    word, _, argument = event.path.strip("/").partition("/")
    if word == "pid":
        return str(os.getpid())
    if word == "about":
        return {"statusCode": 201, "headers": {"X-Own": "yes"}, "body": {
            "method": event.method, "path": event.path, "query": event.query.get("q"), "size": len(event.body),
            "call": context.call_id, "function": context.function_name}}
    if word == "count":
        def pieces():
            for number in range(3):
                yield f"data: {number}\\n\\n"
                asked.acquire(timeout=100)
        return {"headers": {"Content-Type": "text/event-stream"}, "body": pieces()}
    if word == "next":
        asked.release()
    if word == "sleep":
        time.sleep(float(argument))
        return "slept"
    if word == "fail":
        raise ValueError("inside")
    if word == "exit":
        os._exit(3)
    print("called", flush=True)
    return "hello"
"""

ASYNCHRONOUS = """
import asyncio, time

async def handle(event, context):
    if event.path == "/block":
        time.sleep(600)
    await asyncio.sleep(0)
    return b"async"
"""


@pytest.fixture(scope="module")
def server(workshop: Workshop) -> Iterator[Penstock]:
    with serving() as running:
        for name, text, most in (
            ("py", HANDLER, "60s"),
            ("apy", ASYNCHRONOUS, "60s"),
            ("brief", HANDLER, "3s"),
            ("abrief", ASYNCHRONOUS, "3s"),
        ):
            path = workshop.file(f"{name}.py")
            path.write_text(text)
            answer = running.deploy(name, mode="python", handler=str(path), exec_timeout=most)
            assert answer.status == 202, answer.text
        yield running


def test_a_handler_gets_the_request_and_makes_the_answer(server: Penstock) -> None:
    answer = server.invoke("py/about/x%20y?q=1", b"z" * 1_000_000, {"X-Call-Id": "call-1"})
    assert (answer.status, answer.headers["x-own"], answer.headers["content-type"]) == (201, "yes", "application/json")
    about = answer.json()
    assert (about["method"], about["path"], about["query"], about["size"]) == ("POST", "/about/x y", "1", 1_000_000)
    assert (about["call"], about["function"]) == ("call-1", "py")


def test_an_asynchronous_handler(server: Penstock) -> None:
    answer = server.invoke("apy")
    assert (answer.status, answer.body) == (200, b"async")


def test_pieces_come_one_by_one(server: Penstock) -> None:
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    connection.request("GET", "/function/py/count")
    response = connection.getresponse()
    for number in range(3):  # each is made only when the one before has been read
        assert response.read1() == b"data: %d\n\n" % number
        assert server.invoke("py/next").status == 200
    assert response.read() == b""
    connection.close()


def test_what_a_handler_prints_is_in_the_functions_log(server: Penstock) -> None:
    assert server.invoke("py").body == b"hello"

    def logged() -> bool:
        text = server.request("GET", "/system/logs?name=py", admin=True).text
        return any(json.loads(line)["text"].endswith("called") for line in text.splitlines())

    wait_until(logged, "the line that the handler printed")


def test_an_exception_is_told_without_its_text_and_logged(server: Penstock) -> None:
    answer = server.invoke("py/fail")
    assert (answer.status, answer.body) == (500, b"the handler failed; its log says why\n")
    wait_until(
        lambda: "ValueError: inside" in server.request("GET", "/system/logs?name=py", admin=True).text, "the traceback"
    )


def test_a_late_handler_is_answered_for_and_the_function_goes_on(server: Penstock) -> None:
    assert server.invoke("brief/sleep/600").status == 504
    assert server.invoke_in_time("brief").body == b"hello"


def test_a_blocked_loop_is_answered_for_and_the_function_goes_on(server: Penstock) -> None:
    assert server.invoke("abrief/block").status == 504
    assert server.invoke_in_time("abrief").body == b"async"


def test_a_worker_that_exits_costs_its_own_call_only(server: Penstock) -> None:
    answers: list[int] = []
    before = server.invoke("py/pid").body
    other = threading.Thread(target=lambda: answers.append(server.invoke("py").status))
    assert server.invoke("py/exit").status == 502
    other.start()
    other.join()
    assert answers == [200]
    assert server.invoke("py/pid").body != before


def test_a_failed_import_is_shown_as_the_reason(server: Penstock, workshop: Workshop) -> None:
    path = workshop.file("broken.py")
    path.write_text("import nothing_like_it\n")
    spec = {"service": "broken", "image": "", "envVars": {"mode": "python", "handler": str(path)}}
    assert server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True).status == 202
    wait_until(lambda: "nothing_like_it" in json.dumps(server.function("broken")), "the reason of the failure")
    answer = server.invoke("broken")  # nobody waits for a replica that will not come
    assert (answer.status, answer.text) == (
        503,
        "function broken.openfaas-fn cannot start; its status and its log say why\n",
    )


def test_more_replicas_answer_too(server: Penstock) -> None:
    body = json.dumps({"serviceName": "py", "replicas": 3}).encode()
    assert server.request("POST", "/system/scale-function/py", body, admin=True).status == 202
    server.wait_ready("py", 3)
    wait_until(lambda: len({server.invoke("py/pid").body for _ in range(30)}) == 3, "answers from three replicas")
