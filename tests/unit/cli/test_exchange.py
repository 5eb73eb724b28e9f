"""One exchange without an HTTP library: gateways that hang, what is said meanwhile, and what is no gateway."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp
import pytest

from penstock.cli import exchange
from penstock.cli.client import Gateway, talk
from penstock.cli.exchange import Reply, check_acknowledged, fetch, refusal, too_long, waiting_said
from penstock.cli.target import Target
from penstock.errors import GatewayUnavailable, PenstockError
from tests.unit.cli.support import ScriptedGateway, run_cli


class Terminal(io.StringIO):
    """Somebody who reads stderr, and can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        written = super().write(text)
        if "\n" in text:
            self.told.set()
        return written


@contextmanager
def hanging() -> Iterator[str]:
    """The URL of a server that takes connections and says nothing, ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("describe", "f"),
        ("remove", "f"),
        ("deploy", "--name", "f", "--fprocess", "cat"),
        ("namespace", "list"),
        ("ready", "--attempts", "1"),
        ("ready", "f", "--attempts", "1"),
        ("logs", "f"),
        ("health",),
    ],
    ids=" ".join,
)
def test_a_gateway_that_hangs_ends_with_3_when_the_time_is_over(arguments: tuple[str, ...]) -> None:
    with hanging() as url:
        result = run_cli(*arguments, "-g", url, "--timeout", "50ms")
    assert result.exit_code == 3
    assert url in result.stderr


def test_it_says_what_was_asked_and_how_to_wait_longer() -> None:
    with hanging() as url:
        target = Target(url, timeout=0.05)
        for ask in (lambda: fetch(target, "/system/functions", {}), lambda: talk(target, Gateway.functions)):
            with pytest.raises(
                GatewayUnavailable, match=r"does not answer: GET .*0\.05 s; give it more with --timeout"
            ):
                ask()


def test_bytes_that_come_one_by_one_do_not_prolong_the_time() -> None:
    ended = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not ended.wait(0.01):
                try:
                    connection.sendall(b"H")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        try:
            with pytest.raises(GatewayUnavailable, match="longer than"):
                fetch(Target(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2), "/system/functions", {})
        finally:
            ended.set()
            thread.join()


class Slow(Gateway):
    """Begins to answer, and does not end."""

    @asynccontextmanager
    async def stream(self, method: str, path: str, **request: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        async with super().stream(method, path, **request) as response:
            yield response
            raise too_long(method, path, self.target)


def test_an_answer_that_is_not_ended_in_time_is_no_missing_gateway(gateway: ScriptedGateway) -> None:
    async def ask(there: Gateway) -> Reply:
        return await Slow(there.target, there._session).request("GET", "/")

    with pytest.raises(PenstockError, match="longer than") as caught:
        talk(Target(gateway.url), ask)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize(("timeout", "limit"), [(60.0, "for at most 60 s"), (0.0, "for ever")])
def test_a_terminal_is_told_what_is_waited_for(monkeypatch: pytest.MonkeyPatch, timeout: float, limit: str) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(exchange, "PATIENCE", 0.0)
    with waiting_said(Target("http://a:1", timeout=timeout)):
        assert terminal.told.wait(60)
    assert terminal.getvalue().startswith(f"Waiting for the gateway at http://a:1 to answer ({limit}, ")


def timers() -> set[threading.Timer]:
    """Those that run, or are about to end."""
    return {thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)}


def test_nothing_is_said_of_a_short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(exchange, "PATIENCE", 3600.0)
    before = timers()
    with waiting_said(Target("http://a:1")):
        [timer] = timers() - before
    timer.join(60)
    assert not timer.is_alive()
    assert terminal.getvalue() == ""


def test_nobody_waits_to_say_something_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    before = timers()
    with waiting_said(Target("http://a:1")):
        assert timers() <= before


def test_the_words_of_a_refusal_do_not_steer_the_terminal() -> None:
    said = str(refusal(Reply(500, "Bad\x1b[2J", b"one\x1b]0;x\x07\r\ntwo\t3\n")))
    assert said == "the gateway answered 500 Bad\ufffd[2J: one\ufffd]0;x\ufffd\ntwo\t3"


@pytest.mark.parametrize("body", [b"", b"OK", b"ok\n", b" \r\n"])
def test_a_gateway_acknowledges_in_few_words(body: bytes) -> None:
    check_acknowledged(Target("http://a:1"), 200, body)


@pytest.mark.parametrize("body", [b"<!DOCTYPE html>", b'{"status": "ok"}', b"okay", b"\xff\x00", b"x" * 100_000])
def test_whoever_says_more_is_no_gateway(body: bytes) -> None:
    with pytest.raises(GatewayUnavailable, match="http://a:1 is not a gateway: it says 200, and then") as caught:
        check_acknowledged(Target("http://a:1"), 200, body)
    assert len(str(caught.value)) < 500 and str(caught.value).isprintable()
