"""Why a container ended, in words."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.providers.containers.endings import readable, reason_of, words_for
from tests.unit.providers.containers.makings import inspected
from tests.unit.providers.containers.scripted import ScriptedEngine


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"ExitCode": 0}, "exit code 0"),
        ({"ExitCode": 3}, "exit code 3"),
        ({"ExitCode": 128}, "exit code 128"),
        ({"ExitCode": 137}, "ended by signal 9 (Killed)"),
        ({"ExitCode": 255}, "exit code 255"),
        ({"ExitCode": 137, "OOMKilled": True}, "out of memory, its limit is 64Mi"),
        ({"ExitCode": 127, "Error": "exec: not found"}, "exec: not found"),
        ({}, "exit code 0"),
    ],
)
def test_the_state_of_a_container_says_how_it_ended(state: dict[str, Any], words: str) -> None:
    assert words_for(state, 64 << 20) == words


def test_without_a_limit_it_is_the_machine_that_had_no_more() -> None:
    assert words_for({"OOMKilled": True}, 0) == "out of memory, the machine has no more"


@pytest.mark.parametrize(
    ("size", "text"),
    [(1000, "1000 bytes"), (6 << 20, "6Mi"), (1536, "1536 bytes"), (5 << 30, "5Gi"), (2 << 40, "2048Gi")],
)
def test_sizes_have_the_largest_whole_unit(size: int, text: str) -> None:
    assert readable(size) == text


async def test_last_words_are_added() -> None:
    frame = b"2026-01-02T03:04:05.000000001Z no such table\n"
    engine = ScriptedEngine(
        {
            ("GET", "/containers/c1/json"): inspected(Running=False, ExitCode=2),
            ("GET", "/containers/c1/logs"): b"\x02\0\0\0" + len(frame).to_bytes(4, "big") + frame,
        }
    )
    assert await reason_of(engine, "c1") == "exit code 2: no such table"


async def test_what_a_root_without_capabilities_says_brings_advice() -> None:
    frame = b"2026-01-02T03:04:05.000000001Z chown: /var/cache: Operation not permitted\n"
    engine = ScriptedEngine(
        {
            ("GET", "/containers/c1/json"): inspected(Running=False, ExitCode=1),
            ("GET", "/containers/c1/logs"): b"\x02\0\0\0" + len(frame).to_bytes(4, "big") + frame,
        }
    )
    reason = await reason_of(engine, "c1")
    assert reason.startswith("exit code 1: chown: /var/cache: Operation not permitted; its container may lack")
    assert "--capability CHOWN" in reason


async def test_without_a_log_there_is_a_reason_still() -> None:
    engine = ScriptedEngine({("GET", "/containers/c1/json"): inspected(Running=False, ExitCode=2)})
    assert await reason_of(engine, "c1") == "exit code 2"
