"""Log lines: JSON for machines, readable for terminals, harmless in both."""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from penstock.telemetry import JsonFormatter, TerminalFormatter, configure_logging


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def a_record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("penstock.x", logging.WARNING, __file__, 1, message, args, None)


def test_a_json_line_has_time_level_role_logger_and_message() -> None:
    entry = json.loads(JsonFormatter("control").format(a_record("%d things", 3)))
    assert entry.pop("time").endswith("Z")
    assert entry == {"level": "warning", "role": "control", "logger": "penstock.x", "message": "3 things"}


def test_an_exception_is_part_of_the_one_line() -> None:
    record = a_record("failed")
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = JsonFormatter("control").format(record)
    assert "\n" not in line
    assert "ValueError: why" in json.loads(line)["error"]


def test_a_line_break_in_a_message_cannot_forge_a_second_entry() -> None:
    assert "\n" not in JsonFormatter("control").format(a_record('x\n{"level": "error"}'))


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in TerminalFormatter("control").format(a_record("\x1b[2J"))


def test_a_terminal_gets_readable_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    configure_logging("info", "worker-0")
    logging.getLogger("penstock.x").info("ready")
    assert terminal.getvalue().endswith(" worker-0 info    ready\n")


def test_anything_else_gets_json_and_only_from_the_chosen_level_on(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    configure_logging("warning", "control")
    logging.getLogger("penstock.x").info("unimportant")
    logging.getLogger("penstock.x").error("important")
    (line,) = pipe.getvalue().splitlines()
    assert json.loads(line)["message"] == "important"


def test_configuring_twice_does_not_log_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    configure_logging("info", "control")
    configure_logging("info", "control")
    logging.getLogger().info("once")
    assert len(pipe.getvalue().splitlines()) == 1
