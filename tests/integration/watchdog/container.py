"""A watchdog in a container of an Engine."""

from __future__ import annotations

from collections.abc import Mapping

from tests.engines.engine import Engine
from tests.engines.waiting import wait_until
from tests.integration.watchdog.running import Answer, ask, port_in


class Container:
    """A watchdog in a container with a read-only root, on the network of the engine's sandbox."""

    def __init__(
        self, engine: Engine, image: str, *flags: str, environ: Mapping[str, str], command: tuple[str, ...] = ()
    ) -> None:
        self._engine = engine
        variables = {"port": "0", "PENSTOCK_WATCHDOG_METRICS_PORT": "0", **environ}
        given = [part for name, value in variables.items() for part in ("--env", f"{name}={value}")]
        fixed = ("--detach", "--network", "host", "--read-only", "--tmpfs", "/tmp")
        self.id = engine.docker("run", *fixed, *flags, *given, image, *command)
        try:
            self.port = wait_until(self._listens, "a watchdog in a container")
        except BaseException:
            self.close()
            raise

    def _listens(self) -> int:
        port = port_in(self.log)
        if not port and self.inspect("{{.State.Running}}") != "true":
            raise ChildProcessError(f"it ended:\n{self.log}")
        return port

    @property
    def log(self) -> str:
        return self._engine.logs(self.id)

    def inspect(self, form: str) -> str:
        return self._engine.docker("inspect", "--format", form, self.id)

    def execute(self, *command: str) -> str:
        """The output of a command in the container."""
        return self._engine.docker("exec", self.id, *command)

    @property
    def process(self) -> int:
        """The machine's number of its process 1."""
        return self._engine.sandbox.outside(int(self.inspect("{{.State.Pid}}")))

    def answer(self, path: str = "/", body: bytes = b"") -> Answer:
        return ask(self.port, path, body, self._engine.sandbox.address)

    def ask(self, path: str = "/", body: bytes = b"") -> bytes:
        """The body of a good answer."""
        answer = self.answer(path, body)
        assert answer.status == 200, (answer, self.log)
        return answer.body

    def signal(self, name: str) -> None:
        self._engine.docker("kill", "--signal", name, self.id)

    def end(self) -> str:
        """Ask it to end and return its exit code."""
        self._engine.docker("stop", "--time", "100", self.id)
        return self.inspect("{{.State.ExitCode}}")

    def close(self) -> None:
        self._engine.docker("rm", "--force", self.id)
