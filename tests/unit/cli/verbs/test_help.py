"""`penstock help`."""

from __future__ import annotations

import pytest

from tests.unit.cli.support import run_cli


@pytest.mark.parametrize("words", [(), ("deploy",), ("secret",), ("secret", "create"), ("ns", "ls"), ("help",)])
def test_it_says_what_help_behind_the_verb_says(words: tuple[str, ...]) -> None:
    shown = run_cli("help", *words)
    assert (shown.exit_code, shown.stdout) == (0, run_cli(*words, "--help").stdout)


def test_a_mistyped_verb_is_answered_as_everywhere() -> None:
    result = run_cli("help", "depoly")
    assert result.exit_code == 2
    assert "there is no command 'depoly'. Did you mean deploy?" in result.stderr


def test_a_verb_without_verbs_of_its_own_says_so() -> None:
    result = run_cli("help", "deploy", "create")
    assert result.exit_code == 2
    assert "'penstock deploy' has no verbs of its own, so there is no 'create'" in result.stderr


def test_an_option_is_no_verb() -> None:
    assert run_cli("help", "--bogus").exit_code == 2
    assert run_cli("help", "--", "--bogus").exit_code == 2
