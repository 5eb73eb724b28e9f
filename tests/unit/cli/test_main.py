"""The root command: errors become one line and an exit code, and a quick verb imports nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys

import click
import pytest

from penstock import errors
from penstock.cli import main as root
from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, refusing, run_cli
from tests.unit.cli.warm import CommandLine


@pytest.mark.parametrize("verb", root._VERBS)
def test_every_verb_teaches_by_examples(verb: str) -> None:
    result = run_cli(verb, "--help")
    assert result.exit_code == 0
    assert f"Usage: penstock {verb}" in result.stdout
    examples = result.stdout.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert 2 <= len(examples) <= 4


def test_help_lists_all_verbs_with_their_second_names() -> None:
    text = run_cli("--help").stdout
    assert all(f"  {verb}" in text for verb in root._VERBS)
    assert "remove, rm, delete" in text


@pytest.mark.parametrize(
    ("alias", "verb"), [("ls", "list"), ("rm", "remove"), ("delete", "remove"), ("ns", "namespace")]
)
def test_second_names_lead_to_the_verb(alias: str, verb: str) -> None:
    assert f"Usage: penstock {verb}" in run_cli(alias, "--help").stdout


def test_unknown_verb_exits_2_and_names_the_nearest() -> None:
    result = run_cli("depoly")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: there is no command 'depoly'. Did you mean deploy?")


def test_unknown_flag_exits_2_and_points_at_the_help() -> None:
    result = run_cli("list", "--colour")
    assert result.exit_code == 2
    assert "See `penstock list --help`." in result.stderr


def test_errors_go_to_stderr_and_leave_stdout_empty(gateway: ScriptedGateway) -> None:
    result = run_cli("describe", "nothing")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there is no function 'nothing'; `penstock list` shows those there are\n"


def test_no_gateway_exits_3_and_says_what_was_tried_and_what_to_start() -> None:
    with refusing() as url:
        result = run_cli("list", "--gateway", url)
    assert result.exit_code == 3
    assert f"cannot reach a gateway at {url} (Connection refused)" in result.stderr
    assert "penstock serve" in result.stderr


def test_401_exits_4_and_names_login(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", Answer(401, b"invalid credentials"))
    result = run_cli("list")
    assert result.exit_code == 4
    assert f"penstock login --gateway {gateway.url}" in result.stderr


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.InvalidInput), (404, errors.NotFound), (409, errors.AlreadyExists), (501, errors.NotSupported),
        (503, errors.ProviderUnavailable), (500, errors.PenstockError), (302, errors.PenstockError), (204, errors.PenstockError),
    ],
)  # fmt: skip
def test_exit_code_of_a_refusal_is_that_of_its_error(
    gateway: ScriptedGateway, status: int, kind: type[errors.PenstockError]
) -> None:
    gateway.on("GET /system/functions", Answer(status, b"" if status == 204 else b"because"))
    result = run_cli("list")
    assert result.exit_code == kind.exit_code
    assert str(status) in result.stderr


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a": 1}', b'[{"name": 5, "labels": []}]', b"[1]", b"\xff\xfe"])
def test_an_answer_of_another_kind_is_an_error_without_traceback(gateway: ScriptedGateway, body: bytes) -> None:
    gateway.on("GET /system/functions", Answer(200, body))
    result = run_cli("list")
    assert result.exit_code == 1
    assert "not what was expected" in result.stderr


def test_null_for_an_empty_list_is_accepted(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", Answer(200, b"null"))
    assert run_cli("list", "-q").exit_code == 0


def test_an_unexpected_error_is_one_line_and_says_how_to_see_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert root.exit_code_of(ZeroDivisionError("division by zero")) == 1
    monkeypatch.setenv("PENSTOCK_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        root.exit_code_of(ZeroDivisionError())


def test_interrupt_exits_130() -> None:
    assert root.exit_code_of(KeyboardInterrupt()) == 130
    assert root.exit_code_of(click.Abort()) == 130


@pytest.mark.parametrize(
    ("verb", "code", "unwanted"),
    [
        ("version", 0, {"aiohttp", "rich", "asyncio", "yaml", "msgspec", "ssl", "http.client", "penstock.cli.client"}),
        ("list", 3, {"aiohttp", "rich", "asyncio", "yaml", "ssl", "http.client"}),
    ],
    ids=["version", "list"],
)
def test_quick_verbs_import_nothing_heavy(verb: str, code: int, unwanted: set[str]) -> None:
    script = (
        "import sys\nfrom penstock.cli.main import cli\n"
        "try:\n    cli.main([sys.argv[1], '-g', sys.argv[2]], 'penstock')\n"
        "except SystemExit as e:\n    assert e.code == int(sys.argv[3]), e.code\n"
        "heavy = set(sys.argv[4:]) & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    with refusing() as url:
        command = [sys.executable, "-c", script, verb, url, str(code), *sorted(unwanted)]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_ends_us_quietly(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([{"name": f"f{number}"} for number in range(20000)]))
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", "list", "-q"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.readline() == b"f0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


def test_python_m_penstock_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "version", "--short-version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


def shell(line: str) -> subprocess.CompletedProcess[str]:
    program = f"{sys.executable} -m penstock"
    return subprocess.run(["bash", "-c", line.replace("penstock", program, 1)], capture_output=True, text=True)


def test_without_a_verb_the_help_is_the_result() -> None:
    assert run_cli().stdout == run_cli("--help").stdout
    assert run_cli().exit_code == 0
    assert run_cli("secret").stdout == run_cli("secret", "--help").stdout


def test_version_as_a_flag() -> None:
    assert run_cli("--version").stdout.startswith("penstock ")


def test_a_full_disk_is_said_in_one_line() -> None:
    done = shell("penstock version --short-version > /dev/full")
    assert (done.returncode, done.stderr) == (1, "Error: No space left on device\n")


def test_closed_standard_streams_are_no_reason_to_fall_over(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/functions", answer_json([]))
    assert shell("penstock list >&-").returncode == 0
    assert shell("penstock list --bogus 2>&-").returncode == 2
    done = shell("penstock invoke f >&- < /dev/null")
    assert (done.returncode, done.stderr) == (1, "Error: stdout is closed, there is nowhere to write the answer to\n")


def test_arguments_that_are_no_text_are_refused(gateway: ScriptedGateway, command_line: CommandLine) -> None:
    byte = os.fsdecode(b"\xff")
    for arguments in (
        ("deploy", "--name", "a", "--fprocess", byte),
        ("list", "-n", byte),
        ("describe", byte),
        ("logs", byte),
        ("invoke", "f", "--query", f"a={byte}"),
        ("list", "-g", f"http://{byte}"),
    ):
        done = command_line.run(*arguments)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(b"Error: ")
    assert gateway.requests == []
