"""Output on a terminal and in a pipe."""

from __future__ import annotations

import io
import sys

import pytest

from penstock.cli.output import print_columns, print_fields, spinner


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("NO_COLOR", "1")
    print_columns(("Function", "Replicas"), [("words", "[red]2"), ("a\x1b[2J", "1")], (30, 5))
    assert [line.split() for line in screen.getvalue().splitlines()] == [
        ["Function", "Replicas"],
        ["words", "[red]2"],
        ["a\ufffd[2J", "1"],
    ]


def test_lines_of_one_field_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_fields([("A", "1\n2"), ("Long", "")])
    assert capsys.readouterr().out == "A:    1\n      2\nLong: \n"


def test_the_spinner_is_silent_unless_stderr_is_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with spinner("waiting") as show:
        show("still waiting")
    assert capsys.readouterr() == ("", "")


def test_the_spinner_shows_on_a_terminal_what_it_is_given_without_steering_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with spinner("waiting") as show:
        show("pulling \x1b[2J[red]3 of 9 MB")
    assert "[red]3 of 9 MB" in screen.getvalue()
    assert "\x1b[2J" not in screen.getvalue()
