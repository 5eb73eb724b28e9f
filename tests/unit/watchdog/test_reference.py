"""docs/reference/watchdog.md names everything that the watchdog can be told."""

from __future__ import annotations

import re
from pathlib import Path

from penstock.watchdog.settings import MODES, PRIVATE_VARIABLES, load_settings

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "watchdog.md"
ELSEWHERE = {"RAW_BODY"} | PRIVATE_VARIABLES
"""Variables that other parts than the settings read."""


class Recording(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, **variables: str) -> None:
        super().__init__(variables)
        self.asked: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.asked.add(name)
        return super().get(name, default)

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return super().__getitem__(name)


def variables_read() -> set[str]:
    asked = set()
    for variables in (
        {"mode": "static"},
        {"fprocess": "cat"},
    ):  # each alias is asked for where the other one is missing
        environ = Recording(**variables)
        load_settings(environ)
        asked |= environ.asked
    return asked


def first_columns(heading: str) -> set[str]:
    """What stands in backquotes in the first column of the tables between `## heading` and the next heading of its level."""
    section = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def test_every_variable_is_on_the_page() -> None:
    assert variables_read() - first_columns("Variables") == set()


def test_the_page_names_no_variable_that_nobody_reads() -> None:
    assert first_columns("Variables") - variables_read() - ELSEWHERE == set()


def test_every_mode_is_on_the_page() -> None:
    named = {
        name for name in first_columns("Modes") if name in MODES or not name.startswith(("Http_", "PENSTOCK_", "mode"))
    }
    assert named == set(MODES)
