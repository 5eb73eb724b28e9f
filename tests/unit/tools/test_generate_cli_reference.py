"""The command line's page of the documentation is what its generator writes."""

from __future__ import annotations

from penstock.cli.root import cli
from tools.generate_cli_reference import MEANINGS, PAGE, known_codes, page


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m tools.generate_cli_reference"


def test_every_verb_and_every_exit_code_is_on_the_page() -> None:
    text = page()
    assert all(f"### penstock {verb}\n" in text for verb in cli.verbs)
    assert all(f"| {code} | {MEANINGS[code]} |" in text for code in known_codes())
