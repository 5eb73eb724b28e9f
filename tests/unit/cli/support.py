"""A scripted gateway on a real loopback socket: it records what arrives and answers as told."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from click.testing import CliRunner, Result

from penstock.cli.root import cli


@dataclass(frozen=True)
class Recorded:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def line(self) -> str:
        return f"{self.method} {self.target}"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What the gateway says; `cut` sends only the beginning of the announced body and closes."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


Respond = Callable[[Recorded], Answer]


def answer_json(value: object, status: int = 200) -> Answer:
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


class ScriptedGateway:
    """Answers by `routes` ("METHOD target" → answers, one by one, the last one for ever), else 404."""

    def __init__(self) -> None:
        self.requests: list[Recorded] = []
        self.routes: dict[str, list[Answer]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def lines(self) -> list[str]:
        return [request.line for request in self.requests]

    def on(self, line: str, *answers: Answer) -> None:
        self.routes[line] = list(answers)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _reply(self, request: Recorded) -> Answer:
        self.requests.append(request)
        answers = self.routes.get(request.line, [Answer(404)])
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                request = Recorded(self.command, self.path, dict(self.headers.items()), self._body())
                reply = gateway._reply(request)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body) + (10 if reply.cut else 0)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(reply.body)
                self.close_connection = self.close_connection or reply.cut

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = handle_any

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "") != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", "0")))
                pieces = []
                while size := int(self.rfile.readline(), 16):
                    pieces.append(self.rfile.read(size))
                    self.rfile.readline()
                self.rfile.readline()
                return b"".join(pieces)

            def log_message(self, format: str, *args: Any) -> None:
                """The test reads `requests` instead."""

        return Handler


IMPATIENT = ("health", "login", "version")
"""Verbs that give up after five seconds where nobody says otherwise."""


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """The URL of a port that refuses connections, and that nobody else can take meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


def run_cli(*args: str, stdin: bytes | str | None = None, env: dict[str, str | None] | None = None) -> Result:
    """The command line in this process, with time enough for a slow machine."""
    patience = ["--timeout", "1m"] if args and args[0] in IMPATIENT else []
    return CliRunner().invoke(cli, [*args[:1], *patience, *args[1:]], input=stdin, env=env)
