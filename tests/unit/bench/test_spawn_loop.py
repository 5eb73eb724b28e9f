from __future__ import annotations

import pytest

from bench.spawn_loop import find, rate, run_once


def test_a_program_gives_back_what_it_was_given() -> None:
    assert run_once(find("cat"), b"hello") == b"hello"


def test_a_program_that_gives_back_something_else_makes_the_rate_worthless() -> None:
    with pytest.raises(RuntimeError, match="did not return"):
        rate(find("wc"), b"hello", 60.0)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-program"):
        find("no-such-program")
