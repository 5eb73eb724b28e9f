"""What is answered before click is imported: the same as by the verbs, and nothing that only they understand."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli import quick, versions
from penstock.cli.endings import code_of
from penstock.cli.root import cli
from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, refusing, run_cli

INFO = {"provider": {"provider": "p", "orchestration": "o", "version": {"release": "1"}}, "version": {"release": "2"}}
FUNCTIONS = [{"name": "b", "image": "i", "invocationCount": 7.0, "replicas": 2, "createdAt": "2026"}, {"name": "a"}]

PLAIN = [
    ("version",),
    ("version", "--short-version"),
    ("list",),
    ("list", "-q"),
    ("list", "--quiet", "--verbose"),
    ("ls", "-v"),
    ("list", "-n", "staging"),
    ("list", "--namespace", "Upper"),
    ("version", "-g", "ftp://nowhere"),
]
NOT_PLAIN = [
    (),
    ("--version",),
    ("deploy",),
    ("version", "--help"),
    ("version", "-j"),
    ("version", "words"),
    ("version", "-g"),
    ("version", "-g", ""),
    ("version", "-g", "--short-version"),
    ("version", "-ghttp://a"),
    ("list", "-qv"),
    ("list", "--quiet=true"),
    ("list", "--timeout", "1s"),
    ("list", "--", "-q"),
    ("list", "--qui"),
]


@pytest.fixture(autouse=True)
def patient_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "TIMEOUT", 60.0)  # as `run_cli` has it
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def scripted(gateway: ScriptedGateway) -> ScriptedGateway:
    gateway.on("GET /system/info", answer_json(INFO))
    gateway.on("GET /system/functions", answer_json(FUNCTIONS))
    gateway.on("GET /system/functions?namespace=staging", answer_json(FUNCTIONS))
    return gateway


def quickly(*arguments: str) -> int:
    """The exit code, for arguments that are plain."""
    try:
        assert quick.answer(arguments)
    except Exception as error:
        return code_of(error)
    return 0


@pytest.mark.parametrize("arguments", PLAIN, ids=" ".join)
def test_the_answer_is_that_of_the_verb(
    scripted: ScriptedGateway, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code = quickly(*arguments)
    said = capsys.readouterr()
    result = run_cli(*arguments)
    assert (code, said.out, said.err) == (result.exit_code, result.stdout, result.stderr)


@pytest.mark.parametrize("status", [401, 404, 500, 503])
def test_a_refusal_is_told_as_by_the_verb(
    gateway: ScriptedGateway, capsys: pytest.CaptureFixture[str], status: int
) -> None:
    for verb, path in (("list", "/system/functions"), ("version", "/system/info")):
        gateway.on(f"GET {path}", Answer(status, b"because"))
        code = quickly(verb)
        said = capsys.readouterr()
        result = run_cli(verb)
        assert (code, said.out, said.err) == (result.exit_code, result.stdout, result.stderr)


def test_no_gateway_is_told_as_by_the_verb(capsys: pytest.CaptureFixture[str]) -> None:
    with refusing() as url:
        assert quickly("list", "-g", url) == 3
        assert capsys.readouterr().err == run_cli("list", "-g", url).stderr


@pytest.mark.parametrize("arguments", NOT_PLAIN, ids=" ".join)
def test_anything_else_is_left_to_click(scripted: ScriptedGateway, arguments: tuple[str, ...]) -> None:
    assert not quick.answer(arguments)
    assert scripted.requests == []


def test_a_stack_file_that_may_name_the_gateway_is_left_to_click(scripted: ScriptedGateway) -> None:
    Path("stack.yaml").write_text("provider: {name: openfaas}\n")
    assert not quick.answer(["list"])
    assert quick.answer(["list", "-g", scripted.url])


def test_all_that_is_understood_is_an_option_of_the_verb() -> None:
    for name, plain in quick.VERBS.items():
        command = cli.command_named(name)
        assert command is not None
        options = {flag for option in command.params for flag in option.opts}
        assert {*plain.switches, *plain.takes} <= options


def test_a_saved_login_is_sent(scripted: ScriptedGateway, tmp_path: Path) -> None:
    (tmp_path / "user" / ".openfaas").mkdir(parents=True)
    (tmp_path / "user" / ".openfaas" / "config.yml").write_text(f"auths: [{{gateway: '{scripted.url}', token: abc}}]\n")
    assert quickly("list") == 0
    assert scripted.requests[0].headers["Authorization"] == "Basic abc"
