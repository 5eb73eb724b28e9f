"""A function on the Python library that behaves as each path asks for; the other peers here do the same in their language."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

from afterburn import Request, Response, serve


def late_failure(request: Request) -> Iterator[str]:
    yield "begun"
    raise RuntimeError("too late")


def printed(request: Request) -> str:
    for _ in range(2000):
        print("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad")
    return "printed"


def child(request: Request) -> str:
    """A program that writes on its stdout and reads its stdin to the end, as one would be called without a second thought."""
    subprocess.run(["sh", "-c", "echo loud; cat"], check=True)
    return "done"


def swallowed(request: Request) -> str:
    try:
        return request.body.text()
    except Exception:
        return "never mind"


def failed(request: Request) -> Response:
    raise RuntimeError("on purpose")


FIELDS = {"value": ("X-Test", "a\r\nInjected: 1"), "name": ("X-Test: a\r\nInjected", "1"), "wide": ("X-Test", "ż")}

ROUTES: dict[str, Callable[[Request], Response]] = {
    "/echo": lambda request: request.body.read(),
    "/stream": lambda request: iter(request.body),
    "/ignore": lambda request: "ignored",
    "/one": lambda request: request.body.read(1),
    "/describe": lambda request: f"{request.method} {request.path} {request.query} {request.headers.get('x-TEST', '')}",
    "/print": printed,
    "/child": child,
    "/raise": failed,
    "/raise-late": late_failure,
    "/swallow": swallowed,
    "/header": lambda request: (200, [FIELDS[request.query]], "out"),
    "/cookies": lambda request: (200, [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")], "out"),
    "/framing": lambda request: (200, {"Content-Length": "7", "Transfer-Encoding": "gzip"}, "out"),
    "/status": lambda request: (int(request.query), {}, "body"),
    "/close": lambda request: (200, {"Connection": "close"}, "bye"),
    "/nothing": lambda request: None,  # type: ignore[dict-item,return-value]
}

serve(lambda request: ROUTES[request.path](request))
