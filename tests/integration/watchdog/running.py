"""A watchdog of a bundle as a process of this machine, and how any watchdog is spoken to."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.engines.waiting import DEADLINE, wait_until

LISTENING = re.compile(r"^.*Listening on port: (\d+)$|workers serve \S+ .* on port (\d+)$", re.MULTILINE)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes

    @property
    def variables(self) -> dict[str, str]:
        """The output of `env`."""
        return dict(line.split("=", 1) for line in self.body.decode().splitlines())


def ask(port: int, path: str = "/", body: bytes = b"", host: str = "127.0.0.1") -> Answer:
    """The answer of a watchdog on this machine, or on another host."""
    connection = http.client.HTTPConnection(host, port, timeout=DEADLINE)
    try:
        connection.request("POST" if body else "GET", path, body or None)
        answer = connection.getresponse()
        return Answer(answer.status, answer.read())
    finally:
        connection.close()


def port_in(log: str) -> int:
    """The port that a watchdog says it listens on, 0 while it has not."""
    found = LISTENING.search(log)
    return int(found[1] or found[2]) if found else 0


SETTINGS = {"port": "0", "PENSTOCK_WATCHDOG_METRICS_PORT": "0", "PATH": "/usr/bin:/bin"}


class Running:
    """A watchdog that was started by this command line, with this environment and nothing else."""

    def __init__(self, command: Sequence[str | Path], environ: Mapping[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pb-"))
        self._log = self.folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env={**SETTINGS, "TMPDIR": str(self.folder), **environ}, stdout=log, stderr=log, cwd="/"
            )
        try:
            self.port = wait_until(self._listens, "a watchdog that listens")
        except BaseException:
            self.close()
            raise

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def _listens(self) -> int:
        if self.process.poll() is not None:
            raise ChildProcessError(f"it ended with {self.process.returncode}:\n{self.log}")
        return port_in(self.log)

    def end(self) -> int:
        """Ask it to end and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE)
        shutil.rmtree(self.folder, ignore_errors=True)


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(child) for child in file.read().split()]


def is_root() -> bool:
    return os.geteuid() == 0
