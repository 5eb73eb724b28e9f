from __future__ import annotations

import asyncio

import pytest
import uvloop

from penstock.wire.loop import new_event_loop, run


def test_uvloop_is_taken_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_LOOP", raising=False)
    loop = new_event_loop()
    loop.close()
    assert isinstance(loop, uvloop.Loop)
    monkeypatch.setenv("PENSTOCK_LOOP", "asyncio")
    loop = new_event_loop()
    loop.close()
    assert not isinstance(loop, uvloop.Loop)


def test_run_gives_the_result_of_its_coroutine() -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run(main()).startswith(("uvloop", "asyncio"))
