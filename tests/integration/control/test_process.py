"""Control as the process that the supervisor starts: its log, its signals and its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

from penstock.settings import ServeSettings, dump_settings
from tests.unit.control.support import settings_for, until, within

SOURCES = Path(__file__).parents[3] / "src"


class Child:
    """`python -m penstock.control.process` with the settings in its environment."""

    def __init__(self, settings: ServeSettings, **environ: str) -> None:
        self.settings = settings
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCES), **environ}
        environment["PENSTOCK_SERVE_SETTINGS"] = dump_settings(settings)
        self.log = settings.home / "control.log"
        with self.log.open("wb") as log:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", "penstock.control.process"],
                environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, log.fileno(), 2)],
            )

    async def is_up(self) -> None:
        await until(self.settings.paths.control_socket.exists, "the control socket")

    async def exit_code(self) -> int:
        def wait() -> int:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

        return await within(asyncio.to_thread(wait))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_process_cleanly(directory: Path, number: signal.Signals) -> None:
    child = Child(settings_for(directory))
    try:
        await child.is_up()
    finally:
        os.kill(child.pid, number)
        code = await child.exit_code()
    assert code == 0
    entries = [json.loads(line) for line in child.log.read_text().splitlines()]
    assert {entry["role"] for entry in entries} == {"control"}
    assert {entry["level"] for entry in entries} == {"info"}
    assert child.settings.paths.password_file.read_text().strip() not in child.log.read_text()


async def test_a_start_that_fails_says_why_and_exits_with_the_errors_code(directory: Path) -> None:
    child = Child(settings_for(directory), secret_mount_path=str(directory / "nowhere"))
    assert await child.exit_code() == 2
    (line,) = child.log.read_text().splitlines()
    assert "basic-auth-user cannot be read" in json.loads(line)["message"]
