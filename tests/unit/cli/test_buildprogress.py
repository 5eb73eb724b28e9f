"""What is said of builds on stderr."""

from __future__ import annotations

import pytest

from penstock.builders.many import Outcome
from penstock.builders.model import Built
from penstock.cli.buildprogress import failure_text, reporter
from penstock.errors import BuildFailed, InvalidInput


def test_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter(3) as tell:
        tell.began(1, "a")
        tell.told(1, "a", "npm ci")
        tell.told(1, "a", "npm ci")
        tell.ended(1, Outcome(name="a", built=Built(function="a")), 0.5)
        tell.ended(2, Outcome(name="b", built=Built(function="b", cached=True)), 0.0)
        tell.ended(1, Outcome(name="c", fault=BuildFailed("go build failed", "x.go:1: bad\n")), 1.0)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "[1] > Building a.",
        "[1]     npm ci",
        "[1] < Building a done in 0.50s.",
        "[2] < Building b unchanged in 0.00s.",
        "[1] < Building c failed in 1.00s.",
        "c: go build failed",
        "    x.go:1: bad",
    ]


def test_quiet_tells_of_failures_only(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter(2, quiet=True) as tell:
        tell.began(1, "a")
        tell.told(1, "a", "words")
        tell.ended(1, Outcome(name="a", built=Built(function="a")), 0.5)
        tell.ended(1, Outcome(name="b", fault=InvalidInput("no")), 0.5)
    assert capsys.readouterr().err == "b: no\n"


def test_bars_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with reporter(2) as tell:
        tell.began(1, "a[bold]")
        tell.told(1, "a[bold]", "[red]words[/red]\x1b[2J")
        tell.ended(1, Outcome(name="a[bold]", built=Built(function="a")), 0.5)
        tell.began(1, "b")
        tell.ended(1, Outcome(name="b", fault=BuildFailed("failed", "[/] own words")), 0.5)
    written = capsys.readouterr().err
    assert "b: failed" in written
    assert "[/] own words" in written
    assert "\x1b[2J" not in written


def test_words_cannot_steer_the_terminal() -> None:
    text = failure_text(Outcome(name="a", fault=BuildFailed("no", "one\n\ttwo\x1b]0;title\x07\n\n")))
    assert text.splitlines() == ["a: no", "    one", "        two\ufffd]0;title\ufffd"]


def test_what_a_program_said_while_it_ran_is_not_said_again(capsys: pytest.CaptureFixture[str]) -> None:
    with reporter(2) as tell:
        tell.began(1, "a")
        tell.told(1, "a", "pushing")
        tell.told(1, "a", "denied: requested access")
        tell.ended(1, Outcome(name="a", fault=BuildFailed("docker ended", "\ndenied: requested access  \n\n")), 0.5)
        tell.began(1, "b")
        tell.ended(1, Outcome(name="b", fault=BuildFailed("docker ended", "denied: requested access\n")), 0.5)
    assert capsys.readouterr().err.splitlines() == [
        "[1] > Building a.",
        "[1]     pushing",
        "[1]     denied: requested access",
        "[1] < Building a failed in 0.50s.",
        "a: docker ended",
        "[1] > Building b.",
        "[1] < Building b failed in 0.50s.",
        "b: docker ended",
        "    denied: requested access",
    ]
