"""A Docker Engine of the tests' own: its socket, data and processes are in a directory that goes away with it.

It makes no bridge and no firewall rules, and what it mounts is in a mount namespace of its own; containers use the
machine's network. There is no registry: images are made of files.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

from penstock.watchdog.bundle.elf import read_elf
from tests.conftest import debian_path
from tests.integration.watchdog.running import DEADLINE, ask, port_in, wait_until

APPLETS = ("sh", "env", "cat", "sleep", "kill", "id", "echo")


class EngineFailed(Exception):
    """It does not start on this machine; the message is its log."""


class Engine:
    """dockerd, from its start to its end."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pd-"))
        self.address = f"unix://{self.folder}/socket"
        self._environ = {**os.environ, "PATH": debian_path(), "DOCKER_CONFIG": str(self.folder / "config")}
        (self.folder / "daemon.json").write_text("{}")
        with (self.folder / "log").open("wb") as log:
            # Its run-time files beside ours in /run would outlive it; a mount that only it sees does not.
            private = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"]
            self.process = subprocess.Popen([*private, *self._command()], stdout=log, stderr=log, env=self._environ)
        try:
            wait_until(self._answers, "dockerd")
        except BaseException:
            self.close()
            raise

    def _command(self) -> list[str]:
        return [
            "dockerd", "--host", self.address, "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec",
            "--pidfile", f"{self.folder}/pid", "--config-file", f"{self.folder}/daemon.json", "--bridge", "none",
            "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
        ]  # fmt: skip

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise EngineFailed((self.folder / "log").read_text(errors="replace")[-3000:])
        return (
            subprocess.run(self._docker("version"), env=self._environ, capture_output=True, check=False).returncode == 0
        )

    def _docker(self, *arguments: str) -> list[str]:
        return ["docker", "--host", self.address, *arguments]

    def docker(self, *arguments: str, data: bytes = b"") -> str:
        """The output of a docker command. Raises CalledProcessError."""
        done = subprocess.run(
            self._docker(*arguments), input=data, capture_output=True, env=self._environ, check=False, timeout=DEADLINE
        )
        if done.returncode != 0:
            raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace").strip()

    def logs(self, container: str) -> str:
        """What the container has written, on stdout and stderr."""
        done = subprocess.run(
            self._docker("logs", container),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environ,
            check=True,
        )
        return done.stdout.decode(errors="replace")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(DEADLINE)
        shutil.rmtree(self.folder, ignore_errors=True)


class Container:
    """A watchdog in a container with a read-only root, on the machine's network."""

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

    def ask(self, path: str = "/", body: bytes = b"") -> bytes:
        """The body of a good answer."""
        answer = ask(self.port, path, body)
        assert answer.status == 200, (answer, self.log)
        return answer.body

    def signal(self, name: str) -> None:
        self._engine.docker("kill", "--signal", name, self.id)

    def end(self) -> str:
        """Ask it to end and return its exit code."""
        self._engine.docker("stop", "--time", "30", self.id)
        return self.inspect("{{.State.ExitCode}}")

    def close(self) -> None:
        self._engine.docker("rm", "--force", self.id)


class Root:
    """The files of an image."""

    def __init__(self) -> None:
        self._data = io.BytesIO()
        self._archive = tarfile.open(fileobj=self._data, mode="w")  # noqa: SIM115 - closed by `packed`

    def add(self, name: str, data: bytes, mode: int = 0o755) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), mode
        self._archive.addfile(entry, io.BytesIO(data))

    def link(self, name: str, target: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._archive.addfile(entry)

    def folder(self, name: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        self._archive.addfile(entry)

    def packed(self) -> bytes:
        self._archive.close()
        return self._data.getvalue()


def busybox_root() -> Root:
    """Nothing but a static busybox, a place for the bundle, and the name that images start their watchdog by."""
    found = shutil.which("busybox", path=debian_path())
    assert found is not None
    busybox = Path(found).read_bytes()
    assert not read_elf(busybox).interpreter, f"{found} needs libraries; enable with: apt-get install busybox-static"
    root = Root()
    root.add("bin/busybox", busybox)
    for name in APPLETS:
        root.link(f"bin/{name}", "busybox")
    for name in ("tmp", "penstock"):
        root.folder(name)
    root.link("usr/bin/fwatchdog", "/penstock/fwatchdog")
    return root
