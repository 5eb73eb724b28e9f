"""The root command: errors become one line and an exit code."""

from __future__ import annotations

import os
import re

import click
import pytest

from penstock import errors
from penstock.cli import root
from tests.unit.cli.support import Answer, ScriptedGateway, refusing, run_cli
from tests.unit.cli.warm import CommandLine


@pytest.mark.parametrize("verb", root.VERBS)
def test_every_verb_teaches_by_examples(verb: str) -> None:
    result = run_cli(verb, "--help")
    assert result.exit_code == 0
    assert f"Usage: penstock {verb}" in result.stdout
    examples = result.stdout.partition("Examples:\n")[2].partition("\n\n")[0].splitlines()
    assert 2 <= len(examples) <= 4


def test_help_lists_all_verbs_with_their_second_names() -> None:
    text = run_cli("--help").stdout
    assert all(f"  {verb}" in text for verb in root.VERBS)
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


@pytest.mark.parametrize("name", sorted(root.ABSENT))
def test_the_verbs_of_other_programs_are_answered_by_what_to_type_here(name: str) -> None:
    result = run_cli(name)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: there is no command {name!r}: ")
    named = re.findall(r"`penstock ([a-z-]+)", result.stderr.partition("\n")[0])
    assert all(run_cli(verb, "--help").exit_code == 0 for verb in named)


def test_no_verb_of_ours_is_said_to_be_absent() -> None:
    assert not root.ABSENT.keys() & {*root.VERBS, *root.cli.unlisted, *root.cli.aliases}


def test_interrupt_exits_130() -> None:
    assert root.exit_code_of(KeyboardInterrupt()) == 130
    assert root.exit_code_of(click.Abort()) == 130


def test_without_a_verb_the_help_is_the_result() -> None:
    assert run_cli().stdout == run_cli("--help").stdout
    assert run_cli().exit_code == 0
    assert run_cli("secret").stdout == run_cli("secret", "--help").stdout


def test_version_as_a_flag() -> None:
    assert run_cli("--version").stdout.startswith("penstock ")


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
