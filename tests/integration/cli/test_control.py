"""The verbs against the control API itself, over HTTP, with the memory provider behind it."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from penstock.control.app import create_app, route_table
from penstock.control.feed import Feed
from penstock.core.policy import Policy
from penstock.credentials import Credentials
from penstock.model import FunctionSpec
from penstock.providers.memory import MemoryProvider, Script
from tests.unit.cli.support import run_cli
from tests.unit.control.support import scaler_of


def behaviour(spec: FunctionSpec) -> Script:
    """A function named `broken` falls over at each start."""
    if spec.name == "broken":
        return Script(crash_after=0.0, crash_reason="exit code 127: no such program")
    return Script(lines=("first line", "second line"))


class ControlThread:
    """Control in a thread of its own: provider, feed, API behind basic auth, on a free port."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    def start(self) -> None:
        self._thread.start()
        assert self._up.wait(60)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        provider = MemoryProvider(script=behaviour)
        await provider.start()
        feed = Feed(provider, Policy())
        await feed.start(self._directory / "feed.sock")
        app = create_app(
            route_table(provider, feed, scaler_of(provider, feed), self._stopping), Credentials("admin", "s3cr3t")
        )
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server._serve([self._listener]))
        self._up.set()
        await self._stopping.wait()
        server.should_exit = True
        await serving
        await feed.close()
        await provider.close()


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a running control API whose password file this user may read."""
    auth = tmp_path / "home" / "auth"
    auth.mkdir(parents=True)
    (auth / "basic-auth-user").write_text("admin")
    (auth / "basic-auth-password").write_text("s3cr3t")
    with tempfile.TemporaryDirectory(prefix="penstock-") as directory:
        thread = ControlThread(Path(directory))
        thread.start()
        monkeypatch.setenv("PENSTOCK_URL", thread.url)
        yield thread.url
        thread.stop()


def ok(*args: str, stdin: str | None = None) -> str:
    """Standard output of a command that must succeed."""
    result = run_cli(*args, stdin=stdin)
    assert result.exit_code == 0, (result.stderr, result.exception)
    return result.stdout


def test_a_functions_life(control: str) -> None:
    assert f"Deployed. 202 Accepted.\nURL: {control}/function/words\n" in ok(
        "deploy", "--name", "words", "--fprocess", "wc -w"
    )
    assert ok("list", "-q") == "words\n"
    assert "Status:             Ready\n" in ok("describe", "words")
    ok("deploy", "--name", "words", "--fprocess", "wc -l", "--label", "com.openfaas.scale.min=1")
    assert json.loads(ok("describe", "words", "-j"))["envProcess"] == "wc -l"
    ok("scale", "words", "0")
    assert json.loads(ok("describe", "words", "-j")).get("replicas", 0) == 0
    ok("remove", "words")
    assert ok("list", "-q") == ""
    assert run_cli("remove", "words").exit_code == 1


def test_replace_of_an_existing_function(control: str) -> None:
    ok("deploy", "--name", "words", "--fprocess", "wc -w")
    ok("deploy", "--name", "words", "--fprocess", "wc -c", "--replace", "--update=false")
    assert json.loads(ok("describe", "words", "-j"))["envProcess"] == "wc -c"
    assert run_cli("deploy", "--name", "words", "--fprocess", "x", "--update=false").exit_code != 0


def test_a_function_that_cannot_start_is_reported_with_its_reason(control: str) -> None:
    result = run_cli("deploy", "--name", "broken", "--fprocess", "wcc", "--timeout", "1m")
    assert result.exit_code == 1
    assert "exit code 127: no such program" in result.stderr


def test_logs_of_a_function(control: str) -> None:
    ok("deploy", "--name", "words", "--fprocess", "wc -w")
    text = ok("logs", "words", "--tail=false")
    assert [line.split(" ", 1)[1] for line in text.splitlines()] == ["first line", "second line"]
    assert run_cli("logs", "ghost", "--tail=false").exit_code == 1


def test_secrets(control: str) -> None:
    ok("secret", "create", "key", stdin="v1")
    assert run_cli("secret", "create", "key", stdin="v1").exit_code == 1
    ok("secret", "create", "key", "--replace", stdin="v2")
    ok("secret", "update", "key", stdin="v3")
    assert ok("secret", "list") == "NAME\nkey\n"
    ok("deploy", "--name", "words", "--fprocess", "wc -w", "--secret", "key")
    missing = run_cli("deploy", "--name", "other", "--fprocess", "wc -w", "--secret", "ghost")
    assert (missing.exit_code, "ghost" in missing.stderr) == (2, True)
    ok("remove", "words")
    ok("secret", "remove", "key")
    assert run_cli("secret", "remove", "key").exit_code == 1


def test_namespaces(control: str) -> None:
    ok("namespace", "create", "staging", "--label", "team=red")
    assert " - staging\n" in ok("ns", "list")
    assert "team: red" in ok("ns", "get", "staging")
    ok("ns", "update", "staging", "--label", "team=blue")
    ok("deploy", "--name", "words", "--fprocess", "wc -w", "-n", "staging")
    assert (ok("list", "-q"), ok("list", "-q", "-n", "staging")) == ("", "words\n")
    assert run_cli("ns", "remove", "staging").exit_code != 0
    ok("remove", "words", "-n", "staging")
    ok("ns", "remove", "staging")
    assert run_cli("ns", "get", "staging").exit_code == 1


def test_login_and_version(control: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Provider" in ok("version")
    monkeypatch.setenv("PENSTOCK_HOME", "/nonexistent")
    assert run_cli("list").exit_code == 4
    assert run_cli("login", "-s", stdin="wrong").exit_code == 4
    ok("login", "-s", stdin="s3cr3t")
    ok("list")
    ok("logout")
    assert run_cli("list").exit_code == 4
