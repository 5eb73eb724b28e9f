"""`penstock completion`: each shell gets a script, and the script's question is answered with our verbs."""

from __future__ import annotations

import pytest

from tests.unit.cli.support import run_cli


@pytest.mark.parametrize(
    ("shell", "sign"), [("bash", "complete -o nosort"), ("zsh", "#compdef penstock"), ("fish", "--command penstock")]
)
def test_each_shell_gets_its_script(shell: str, sign: str) -> None:
    text = run_cli("completion", "--shell", shell).stdout
    assert sign in text
    assert "_PENSTOCK_COMPLETE" in text


def test_the_shells_question_is_answered() -> None:
    question = {"_PENSTOCK_COMPLETE": "bash_complete", "COMP_WORDS": "penstock de", "COMP_CWORD": "1"}
    assert run_cli(env={**question}).stdout.split() == ["plain,deploy", "plain,describe"]


def test_an_unknown_shell_is_refused() -> None:
    assert run_cli("completion", "--shell", "tcsh").exit_code == 2
