"""A gateway in a container of the image."""

from __future__ import annotations

import http.client

from tests.engines.engine import Engine
from tests.engines.waiting import DEADLINE, wait_until
from tests.image import TAG

READY = "Penstock is ready at "


class Gateway:
    """From its start, with a read-only root and a volume of its own, to its end."""

    def __init__(self, engine: Engine, network: str, *flags: str, command: tuple[str, ...] = ()) -> None:
        self._engine = engine
        self._network = network
        fixed = ("--detach", "--network", network, "--read-only", "--tmpfs", "/tmp", "--health-interval", "1s")
        self.id = engine.docker("run", *fixed, *flags, TAG, *command)
        try:
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def wait_until_ready(self, starts: int = 1) -> None:
        """Until it has said so as often as it was started."""
        wait_until(lambda: self._said(starts), "a gateway in a container")

    def _said(self, starts: int) -> bool:
        if self.inspect("{{.State.Running}}") != "true":
            raise ChildProcessError(f"it ended:\n{self.log}")
        return self.log.count(READY) >= starts

    @property
    def log(self) -> str:
        return self._engine.logs(self.id)

    @property
    def address(self) -> str:
        """In the network that it was started in: it may join others."""
        return self.inspect(f'{{{{(index .NetworkSettings.Networks "{self._network}").IPAddress}}}}')

    def inspect(self, form: str) -> str:
        return self._engine.docker("inspect", "--format", form, self.id)

    def execute(self, *command: str, data: bytes = b"") -> str:
        """The output of a command in the container."""
        return self._engine.docker("exec", "--interactive", self.id, *command, data=data)

    def ask(self, path: str, body: bytes = b"", port: int = 8080) -> tuple[int, bytes]:
        """Status and body of an answer."""
        connection = http.client.HTTPConnection(self.address, port, timeout=DEADLINE)
        try:
            connection.request("POST" if body else "GET", path, body or None)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def stop(self) -> str:
        """Ask it to end and return its exit code."""
        self._engine.docker("stop", "--time", "60", self.id)
        return self.inspect("{{.State.ExitCode}}")

    def start(self) -> None:
        self._engine.docker("start", self.id)

    def close(self) -> None:
        self._engine.docker("rm", "--force", "--volumes", self.id)
