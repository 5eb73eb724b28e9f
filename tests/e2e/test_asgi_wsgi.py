"""ASGI and WSGI applications through the whole platform: deployed by a file's path, called and talked to through the gateway."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving, wait_until

ASGI = """
import asyncio, os
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

@asynccontextmanager
async def lifespan(app):
    yield {"started": "yes"}

async def about(request):
    body = await request.body()
    return JSONResponse({"path": request.url.path, "query": request.url.query, "size": len(body),
                         "started": request.state.started, "client": request.client.host})

async def events(request):
    async def pieces():
        for number in range(3):
            yield f"data: {number}\\n\\n"
            while not os.path.exists(request.query_params["gate"] + str(number)):
                await asyncio.sleep(0.01)
    return StreamingResponse(pieces(), media_type="text/event-stream")

async def slow(request):
    await asyncio.sleep(600)

async def fail(request):
    raise ValueError("inside")

async def talk(socket):
    await socket.accept()
    async for text in socket.iter_text():
        if text == "close":
            await socket.close(4001, "as you wish")
            return
        await socket.send_text(text[::-1])

app = Starlette(lifespan=lifespan, routes=[
    Route("/about/{rest:path}", about, methods=["GET", "POST"]), Route("/events", events), Route("/slow", slow), Route("/fail", fail),
    WebSocketRoute("/talk", talk)])
"""

WSGI = """
import flask
app = flask.Flask("function")

@app.route("/about/<path:rest>", methods=["GET", "POST"])
def about(rest):
    size = 0
    while data := flask.request.stream.read(65536):
        size += len(data)
    return {"path": flask.request.path, "size": size, "multiprocess": flask.request.is_multiprocess}

@app.get("/stream")
def stream():
    return flask.Response((b"x" * 65536 for _ in range(160)), mimetype="application/octet-stream")
"""

BROKEN = """
from contextlib import asynccontextmanager
from starlette.applications import Starlette

@asynccontextmanager
async def lifespan(app):
    raise OSError("no database")
    yield

app = Starlette(lifespan=lifespan)
"""


@pytest.fixture(scope="module")
def server(workshop: Workshop) -> Iterator[Penstock]:
    with serving() as running:
        for name, text, most in (("asgi", ASGI, "60s"), ("brief", ASGI, "3s"), ("wsgi", WSGI, "60s")):
            path = workshop.file(f"{name}.py")
            path.write_text(text)
            mode = "wsgi" if name == "wsgi" else "asgi"
            answer = running.deploy(name, mode=mode, handler=f"{path}:app", exec_timeout=most, python_workers="2")
            assert answer.status == 202, answer.text
        yield running


def test_an_asgi_application_sees_its_own_path_and_its_state(server: Penstock) -> None:
    answer = server.invoke("asgi/about/a%20b?q=1", b"x" * 100000)
    about = answer.json()
    assert (about["path"], about["query"], about["size"], about["started"]) == ("/about/a b", "q=1", 100000, "yes")
    assert about["client"] == "127.0.0.1"


def test_events_of_an_asgi_application_come_one_by_one(server: Penstock, workshop: Workshop) -> None:
    gate = workshop.file("gate")
    connection = http.client.HTTPConnection(*server.address, timeout=60)
    connection.request("GET", f"/function/asgi/events?gate={gate}", headers={"Accept": "text/event-stream"})
    response = connection.getresponse()
    assert response.getheader("Content-Type", "").startswith("text/event-stream")
    for number in range(3):  # each is made only when the one before has been read
        assert response.read1() == b"data: %d\n\n" % number
        workshop.file(f"gate{number}").touch()
    assert response.read() == b""
    connection.close()


def test_an_asgi_application_that_is_late_or_fails_is_answered_for(server: Penstock) -> None:
    assert server.invoke("asgi/slow").status == 405
    assert server.request("GET", "/function/asgi/fail").status == 500
    assert server.request("GET", "/function/brief/slow").status == 504
    assert server.invoke_in_time("brief/about/x").status == 200


def test_a_websocket_reaches_an_asgi_application_through_the_gateway(server: Penstock) -> None:
    url = server.base.replace("http", "ws", 1) + "/function/asgi/talk"
    with connect(url, open_timeout=60) as client:
        for text in ("hello", "x" * 100000, "ünï"):
            client.send(text)
            assert client.recv(timeout=60) == text[::-1]
        client.send("close")
        with pytest.raises(ConnectionClosed):
            client.recv(timeout=60)
        assert (client.close_code, client.close_reason) == (4001, "as you wish")


def test_a_websocket_client_that_vanishes_leaves_nothing_behind(server: Penstock) -> None:
    before = server.function("asgi")["availableReplicas"]
    with socket.create_connection(server.address, timeout=60) as client:
        client.sendall(
            b"GET /function/asgi/talk HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 101 ")
        client.sendall(b"\x81\xfe\x10")
    assert server.request("GET", "/function/asgi/about/x").status == 200
    assert server.function("asgi")["availableReplicas"] == before


def test_a_wsgi_application_takes_and_gives_large_bodies(server: Penstock) -> None:
    about = server.invoke("wsgi/about/a%20b", b"x" * (8 << 20)).json()
    assert about == {"path": "/about/a b", "size": 8 << 20, "multiprocess": True}
    assert server.request("GET", "/function/wsgi/stream").body == b"x" * (160 << 16)


def test_a_function_whose_startup_fails_says_why(server: Penstock, workshop: Workshop) -> None:
    path = workshop.file("broken.py")
    path.write_text(BROKEN)
    spec = {"service": "broken", "image": "", "envVars": {"mode": "asgi", "handler": f"{path}:app"}}
    server.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
    logs = "/system/logs?name=broken&follow=false"
    wait_until(lambda: "OSError: no database" in server.request("GET", logs, admin=True).text, "the reason in the log")
