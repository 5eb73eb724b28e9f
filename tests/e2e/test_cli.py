"""The command line against a running gateway, as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving, wait_until


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    """A gateway that the user has logged in to."""
    with serving() as running:
        done = running.cli("login", "--password-stdin", stdin=running.password.encode())
        assert done.returncode == 0, done.stderr
        yield running


def ok(server: Penstock, *arguments: str, stdin: bytes = b"") -> str:
    """Run a verb that must succeed; what it wrote on stdout."""
    done = server.cli(*arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def fails(server: Penstock, *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    """Run a verb that must fail; its exit code and what it wrote on stderr."""
    done = server.cli(*arguments, stdin=stdin)
    assert done.returncode != 0, done.stdout.decode()
    assert b"Traceback" not in done.stderr
    return done.returncode, done.stderr.decode()


def test_a_function_lives_its_life_by_verbs(server: Penstock) -> None:
    ok(server, "deploy", "--name", "life", "--fprocess", "tr a-z A-Z", "-e", "x=y", "-l", "team=red")
    assert ok(server, "invoke", "life", stdin=b"hello") == "HELLO"
    [listed] = [f for f in json.loads(ok(server, "list", "--json")) if f["name"] == "life"]
    assert listed["labels"]["team"] == "red"
    assert "life" in ok(server, "list")
    assert "tr a-z A-Z" in ok(server, "describe", "life")
    ok(server, "deploy", "--name", "life", "--fprocess", "tr A-Z a-z")
    wait_until(lambda: ok(server, "invoke", "life", stdin=b"HELLO") == "hello", "the update", 60.0)
    ok(server, "scale", "life", "3")
    server.wait_ready("life", 3)
    ok(server, "scale", "life", "0")
    assert ok(server, "invoke", "life", stdin=b"WAKE") == "wake"
    ok(server, "remove", "life")
    wait_until(lambda: server.function("life") is None, "its end", 60.0)


def test_invoke_tells_what_went_wrong_on_stderr_and_by_its_exit_code(server: Penstock, workshop: Workshop) -> None:
    ok(
        server,
        "deploy",
        "--name",
        "fails",
        "--fprocess",
        workshop.python("fails", "import sys; sys.exit('the reason')"),
    )
    done = server.cli("invoke", "fails")
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"500" in done.stderr
    assert b"the reason" in done.stderr
    code, error = fails(server, "invoke", "nosuch")
    assert code == 1
    assert "404" in error


def test_invoke_is_binary_clean(server: Penstock) -> None:
    ok(server, "deploy", "--name", "same", "--fprocess", "cat")
    data = bytes(range(256)) * 1000
    done = server.cli("invoke", "same", stdin=data)
    assert (done.returncode, done.stdout, done.stderr) == (0, data, b"")


def test_functions_chain_in_a_shell_pipeline(server: Penstock) -> None:
    ok(server, "deploy", "--name", "sorts", "--fprocess", "sort")
    ok(server, "deploy", "--name", "uniqs", "--fprocess", "uniq -c")
    invoke = f"{sys.executable} -m penstock invoke"
    done = subprocess.run(
        ["sh", "-c", f"printf 'b\\na\\nb\\n' | {invoke} sorts | {invoke} uniqs"],
        capture_output=True,
        env={**server.environ, "OPENFAAS_URL": server.base, "HOME": str(server.home)},
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == [b"1", b"a", b"2", b"b"]


def test_secrets_by_verbs(server: Penstock, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\x00\xffbinary")
    ok(server, "secret", "create", "from-file", "--from-file", str(file))
    ok(server, "secret", "create", "from-stdin", stdin=b"typed")
    listed = ok(server, "secret", "list")
    assert "from-file" in listed
    assert "from-stdin" in listed
    assert "typed" not in listed
    code, error = fails(server, "secret", "create", "from-stdin", stdin=b"again")
    assert code
    assert "exists" in error
    ok(server, "secret", "update", "from-stdin", stdin=b"new")
    ok(server, "secret", "remove", "from-stdin")
    assert "from-stdin" not in ok(server, "secret", "list")


def test_namespaces_by_verbs(server: Penstock) -> None:
    ok(server, "namespace", "create", "green", "--label", "team=red")
    assert "green" in ok(server, "namespace", "list")
    ok(server, "deploy", "--name", "here", "--fprocess", "echo green", "--namespace", "green")
    assert ok(server, "invoke", "here", "--namespace", "green") == "green\n"
    fails(server, "invoke", "here")
    fails(server, "namespace", "remove", "green")
    ok(server, "remove", "here", "--namespace", "green")
    wait_until(lambda: server.cli("namespace", "remove", "green").returncode == 0, "the namespace to be empty", 60.0)
    assert "green" not in ok(server, "namespace", "list")


def test_logs_are_printed_and_followed_until_interrupted(server: Penstock, workshop: Workshop) -> None:
    program = workshop.python("says", "import sys; print(sys.stdin.read(), file=sys.stderr)")
    ok(server, "deploy", "--name", "says", "--fprocess", program, "-e", "combine_output=false")
    ok(server, "invoke", "says", stdin=b"first words")
    wait_until(lambda: "first words" in ok(server, "logs", "says", "--no-tail"), "the line", 60.0)
    follower = subprocess.Popen(
        [sys.executable, "-m", "penstock", "logs", "says"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**server.environ, "OPENFAAS_URL": server.base, "HOME": str(server.home)},
    )
    assert follower.stdout is not None
    try:
        for words in ("first words", "second words"):
            while words.encode() not in follower.stdout.readline():
                assert follower.poll() is None
            ok(server, "invoke", "says", stdin=b"second words")
        follower.send_signal(signal.SIGINT)
        assert follower.wait(60) in (0, 130)
        assert follower.stderr is not None
        assert b"Traceback" not in follower.stderr.read()
    finally:
        follower.kill()
        follower.wait()
        follower.stdout.close()
        follower.stderr.close()  # type: ignore[union-attr]


def test_without_login_the_admin_verbs_are_refused_and_invoke_works(server: Penstock, tmp_path: Path) -> None:
    ok(server, "deploy", "--name", "open", "--fprocess", "cat")
    environ = {**server.environ, "OPENFAAS_URL": server.base, "HOME": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "penstock", *arguments]
        return subprocess.run(command, input=b"x", capture_output=True, env=environ, timeout=60, check=False)

    refused = run("list")
    assert refused.returncode == 4
    assert b"login" in refused.stderr
    assert run("invoke", "open").stdout == b"x"
    wrong = run("login", "--password", "wrong")
    assert wrong.returncode == 4


def test_without_a_gateway_verbs_say_so(tmp_path: Path) -> None:
    environ = {**os.environ, "OPENFAAS_URL": "http://127.0.0.1:9", "HOME": str(tmp_path)}
    for verb in (["list"], ["invoke", "x"], ["deploy", "--name", "x", "--fprocess", "cat"]):
        command = [sys.executable, "-m", "penstock", *verb]
        done = subprocess.run(command, input=b"", capture_output=True, env=environ, timeout=60, check=False)
        assert done.returncode == 3, done.stderr
        assert b"127.0.0.1:9" in done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["deploy", "--name", "Bad_Name", "--fprocess", "cat"],
        ["deploy", "--name", "noprogram"],
        ["deploy", "--name", "x", "--fprocess", "cat", "-e", "no-equals-sign"],
        ["scale", "open", "-1"],
        ["scale", "open", "many"],
        ["describe", "../secrets"],
        ["remove", "nosuch"],
        ["logs", "nosuch", "--no-tail"],
        ["nosuchverb"],
    ],
)
def test_mistakes_are_told_in_a_sentence(server: Penstock, arguments: list[str]) -> None:
    code, error = fails(server, *arguments)
    assert code in (1, 2)
    assert error.strip()


def test_version_names_client_and_gateway(server: Penstock) -> None:
    from penstock import __version__

    assert ok(server, "version").count(__version__) >= 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(server: Penstock, shell: str) -> None:
    assert "penstock" in ok(server, "completion", "--shell", shell)
