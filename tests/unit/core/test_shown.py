"""Text of others, without what would steer a terminal."""

from __future__ import annotations

import pytest

from penstock.core.shown import shown


@pytest.mark.parametrize("sign", ["\x00", "\x07", "\x08", "\r", "\x1b", "\x7f", "\x9b", "\u202e", "\u2067", "\ud800"])
def test_what_steers_a_terminal_is_replaced(sign: str) -> None:
    assert shown(f"a{sign}[2Jb") == "a\ufffd[2Jb"


def test_all_that_people_write_stays() -> None:
    text = "two\tlines\nof “text”, naïve\u00a0résumé, 日本語, עברית, 👩‍🔬"
    assert shown(text) == text
