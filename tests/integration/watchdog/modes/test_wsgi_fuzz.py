"""The wsgi mode against applications and clients that do anything in any order: every call ends once, and the connection is sane."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import h11
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.watchdog.app import Watchdog
from penstock.watchdog.importing import Application
from penstock.watchdog.settings import load_settings
from tests.integration.watchdog.modes.test_asgi_fuzz import REQUESTS, SLOW, Books, framed, read_answer, sane

HEADERS = st.lists(
    st.sampled_from(
        [
            ("X-A", "1"),
            ("Content-Length", "0"),
            ("Content-Length", "5"),
            ("Content-Length", "70000"),
            ("Content-Length", "-1"),
            ("Transfer-Encoding", "chunked"),
            ("Connection", "close"),
            ("bad name", "x"),
            ("X", "a\nb"),
            (b"bytes", b"bytes"),
        ]
    ),
    max_size=2,
)
DATA = st.sampled_from([b"", b"12345", b"x" * 70000, b"z" * 600000, "text", None])
ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["start", "restart"]),
            st.tuples(st.sampled_from(["200 OK", "204 None", "404", "no"]), HEADERS),
        ),
        st.tuples(st.sampled_from(["write", "yield", "yield"]), DATA),
        st.tuples(st.just("read"), st.sampled_from([-1, 0, 7, 100000])),
        st.tuples(st.sampled_from(["readline", "pause", "raise", "exit"]), st.none()),
    ),
    max_size=8,
)


def steps(environ: Any, start_response: Any, script: list[tuple[str, Any]]) -> Iterator[Any]:
    """What an application does, one after another."""
    write = None
    for what, value in script:
        if what == "start":
            write = start_response(*value)
        elif what == "restart":
            try:
                raise KeyError("replaced")
            except KeyError:
                write = start_response(*value, sys.exc_info())
        elif what == "write":
            assert write is not None
            write(value)
        elif what == "yield":
            yield value
        elif what == "read":
            environ["wsgi.input"].read(value)
        elif what == "readline":
            environ["wsgi.input"].readline()
        elif what == "pause":
            time.sleep(0.001)
        elif what == "raise":
            raise ValueError("on purpose")
        else:
            raise SystemExit(1)


async def exchange(script: list[tuple[str, Any]], whole: bool, request: tuple[bytes, str, bytes], leave: bool) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/script":
            start_response("200 OK", [])
            return [b"sane"]
        made = steps(environ, start_response, script)
        return list(made) if whole else made

    method, framing, body = request
    with tempfile.TemporaryDirectory() as folder:
        environ = {
            "mode": "wsgi",
            "handler": "main:app",
            "TMPDIR": folder,
            "exec_timeout": "20s",
            "python_threads": "2",
        }
        watchdog = Watchdog(load_settings(environ), environ, Application(app))
        books = watchdog.limiter = Books(0)
        await watchdog.start(f"unix:{folder}/socket")
        try:
            reader, writer = await asyncio.open_unix_connection(f"{folder}/socket")
            writer.write(framed(method, framing, body))
            if leave:
                await asyncio.sleep(0.001)
            else:
                parser = h11.Connection(h11.CLIENT)
                parser.send(h11.Request(method=method, target="/script", headers=[("Host", "x")]))
                parser.send(h11.EndOfMessage())
                if framing == "cut":
                    await asyncio.sleep(0.01)
                    writer.write_eof()
                complete = await read_answer(parser, reader)
                if complete is not None and parser.their_state is h11.DONE and framing not in ("cut", "malformed"):
                    parser.start_next_cycle()
                    await sane(parser, reader, writer)
            writer.close()
            mode: Any = watchdog.mode
            async with asyncio.timeout(SLOW):
                while mode.running or books.given_back < books.taken:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
            assert (books.given_back, books.inflight, watchdog.server.active) == (books.taken, 0, 0)
        finally:
            await watchdog.close()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(ACTIONS, st.booleans(), REQUESTS, st.booleans())
def test_any_wsgi_application_with_any_client(
    script: list[tuple[str, Any]], whole: bool, request: tuple[bytes, str, bytes], leave: bool
) -> None:
    asyncio.run(exchange(script, whole, request, leave))
