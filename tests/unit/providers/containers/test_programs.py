"""What an image's entrypoint and command start: a watchdog, a program, or nothing that could answer a request."""

from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.providers.containers.programs import has_watchdog, own_program


@pytest.mark.parametrize(
    ("entrypoint", "command"),
    [
        ([], ["fwatchdog"]),
        (["fwatchdog"], []),
        (["/usr/bin/fwatchdog"], ["--suppress"]),
        (["of-watchdog"], []),
        (["./watchdog"], []),
        (["/penstock/penstock-watchdog"], []),
        (["penstock", "watchdog"], []),
        (["/opt/venv/bin/penstock"], ["watchdog"]),
        (["tini", "--"], ["fwatchdog"]),
        (["/sbin/tini", "-g", "--", "/usr/bin/fwatchdog"], []),
        (["dumb-init"], ["of-watchdog"]),
        ([], ["/bin/sh", "-c", "fwatchdog"]),
        (["/bin/sh", "-c", "exec /usr/bin/fwatchdog"], []),
        (["tini", "--", "sh", "-c", "fwatchdog"], []),
    ],
)
def test_a_watchdog_is_known_by_its_name(entrypoint: list[str], command: list[str]) -> None:
    assert has_watchdog(entrypoint, command)


@pytest.mark.parametrize(
    ("entrypoint", "command"),
    [
        ([], []),
        (["tini", "--"], []),
        (["nginx"], ["fwatchdog"]),
        (["/fwatchdog/nginx"], []),
        (["fwatchdog.sh"], []),
        (["penstock"], ["up"]),
        ([], ["/bin/sh", "-c", "fwatchdog; reboot"]),
        ([], ["/bin/sh", "-c", "$(fwatchdog)"]),
        ([], ["/bin/sh", "-c", "echo fwatchdog"]),
    ],
)
def test_other_programs_are_no_watchdogs(entrypoint: list[str], command: list[str]) -> None:
    assert not has_watchdog(entrypoint, command)


@pytest.mark.parametrize(
    ("entrypoint", "command", "line"),
    [
        (["jq"], [".a"], "jq .a"),
        ([], ["cat"], "cat"),
        (["/usr/bin/env"], ["python3", "/app/main.py"], "/usr/bin/env python3 /app/main.py"),
        (["python3"], ["-m", "app"], "python3 -m app"),
        (["grep"], ["", "-c"], "grep  -c"),
        ([], ["/bin/sh", "-c", "cat -n"], "cat -n"),
        ([], ["/bin/sh", "-c", "exec  wc   -l"], "wc -l"),
        (["tini", "--", "figlet"], [], "tini -- figlet"),
        (["docker-entrypoint.sh"], ["node", "index.js"], "docker-entrypoint.sh node index.js"),
    ],
)
def test_an_images_own_program_becomes_a_command_line(entrypoint: list[str], command: list[str], line: str) -> None:
    assert own_program("x", entrypoint, command) == line


@pytest.mark.parametrize(
    "words",
    [
        ["sh"],
        ["/bin/bash"],
        ["bash", "-l"],
        ["python3"],
        ["/usr/local/bin/python3.12"],
        ["node"],
        ["irb"],
        ["php", "-a"],
        ["docker-entrypoint.sh", "node"],
        ["/usr/local/bin/docker-php-entrypoint", "php", "-a"],
        ["tini", "--", "bash"],
        ["/bin/sh", "-c", "bash"],
        ["lua5.4"],
    ],
)
def test_an_interpreter_alone_is_refused_with_advice(words: list[str]) -> None:
    with pytest.raises(InvalidInput, match=r"does nothing for a request.*--fprocess"):
        own_program("x", words, [])


@pytest.mark.parametrize(
    "words",
    [
        ["sh", "-c", "cat | wc"],
        ["sh", "-c", "A=1 cat"],
        ["sh", "-c", "echo $HOME"],
        ["echo", "two words"],
        ["", "x"],
        ["my program"],
    ],
)
def test_a_program_that_needs_quoting_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidInput, match="splits at spaces"):
        own_program("x", [], words)


def test_an_image_without_a_program_is_refused() -> None:
    with pytest.raises(InvalidInput, match="names no program"):
        own_program("x", [], [])


@pytest.mark.parametrize("words", [["cat", "\x00"], ["cat", "x" * 200_000], ["cat", "\ud800" * 100_000]])
def test_a_program_that_no_kernel_would_start_is_refused(words: list[str]) -> None:
    with pytest.raises(InvalidInput):
        own_program("x", words, [])


def test_a_refusal_shows_an_images_hostile_words_escaped_and_short() -> None:
    with pytest.raises(InvalidInput) as refusal:
        own_program("x", ["\x1b[2J a", "b" * 100_000], [])
    assert "\x1b" not in str(refusal.value)
    assert len(str(refusal.value)) < 1000
