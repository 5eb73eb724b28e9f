"""A Docker Engine of the tests' own, in a sandbox: its socket is in the sandbox's folder, its containers answer by address.

It makes no firewall rules. Unless told so it has no default bridge: containers are joined to networks made for them, or to
the sandbox's own.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence

from tests.engines.sandbox import Program, Sandbox
from tests.engines.waiting import DEADLINE, wait_until

PID_FILES = ("/run/docker.pid", "/run/docker/containerd/containerd.pid")
REGISTRIES = "10.199.0.0/16"
"""Where sandboxes are: their registries have no TLS."""


class EngineFailed(Exception):
    """It does not start on this machine; the message is its log."""


class Engine:
    """dockerd, from its start to its end."""

    def __init__(
        self,
        *,
        live_restore: bool = False,
        insecure: Sequence[str] = (),
        bridge: bool = False,
        flags: Sequence[str] = (),
    ) -> None:
        """`insecure` registries, besides those in sandboxes, are spoken to without TLS; `live_restore` keeps containers
        running while dockerd is away; `bridge` gives it the network that containers have by default; `flags` are dockerd's.
        """
        self.sandbox = Sandbox()
        self.folder = self.sandbox.folder
        self.url = f"unix://{self.folder}/docker.sock"
        self._environ = {**self.sandbox.environ, "DOCKER_HOST": self.url, "DOCKER_CONFIG": str(self.folder / "config")}
        self._flags = [*flags]
        self._flags += [part for registry in insecure for part in ("--insecure-registry", registry)]
        self._flags += ["--live-restore"] if live_restore else []
        self._flags += [] if bridge else ["--bridge", "none"]
        self._process: Program | None = None
        (self.folder / "daemon.json").write_text("{}")
        try:
            self._flags += ["--storage-driver", self._storage_driver()]
            self.start()
        except BaseException:
            self.close()
            raise

    def _storage_driver(self) -> str:
        """overlay2 where the file system of the data allows it; vfs copies every layer, but works everywhere."""
        probe = self.folder / "probe"
        for name in ("lower", "upper", "work", "merged"):
            (probe / name).mkdir(parents=True)
        options = f"lowerdir={probe}/lower,upperdir={probe}/upper,workdir={probe}/work"
        try:
            self.sandbox.run("mount", "-t", "overlay", "overlay", "-o", options, str(probe / "merged"))
        except AssertionError:
            return "vfs"
        self.sandbox.run("umount", str(probe / "merged"))
        return "overlay2"

    def _command(self) -> list[str]:
        return [
            "dockerd", "--host", self.url, "--data-root", f"{self.folder}/data", "--pidfile", PID_FILES[0],
            "--config-file", f"{self.folder}/daemon.json", "--cgroup-parent", f"/{self.sandbox.name}",
            "--exec-opt", "native.cgroupdriver=cgroupfs",
            "--default-address-pool", f"base={self.sandbox.link.pool},size=24",
            "--insecure-registry", REGISTRIES, "--iptables=false", "--ip6tables=false", "--ip-masq=false", *self._flags,
        ]  # fmt: skip

    @property
    def process(self) -> Program:
        assert self._process is not None, "the engine has not been started"
        return self._process

    @property
    def log(self) -> str:
        """What dockerd has said since the engine was made."""
        return (self.folder / "dockerd.log").read_text(errors="replace")

    def start(self) -> None:
        """Start dockerd and wait until it answers. Raises EngineFailed."""
        for name in PID_FILES:
            # What was killed leaves its number, which another process of the sandbox may have by now.
            self.sandbox.file(name).unlink(missing_ok=True)
        with (self.folder / "dockerd.log").open("ab") as log:
            self._process = self.sandbox.popen(self._command(), stdout=log, stderr=log)
        try:
            wait_until(self._answers, "dockerd")
        except TimeoutError as error:
            raise EngineFailed(f"{error}:\n{self.log[-3000:]}") from error

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise EngineFailed(self.log[-3000:])
        return self._run("version", check=False).returncode == 0

    def stop(self) -> None:
        """End dockerd as an operator does; containers end with it unless it was made with `live_restore`."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(DEADLINE)

    def kill(self) -> None:
        """End dockerd without a chance to put anything in order; containers keep running until it is started again."""
        self.process.kill()
        self.process.wait(DEADLINE)

    def restart(self) -> None:
        self.stop()
        self.start()

    def pause(self) -> None:
        """Let dockerd hang: its socket takes connections that nobody answers."""
        self.process.stop()

    def resume(self) -> None:
        self.process.resume()

    def docker(self, *arguments: str, data: bytes = b"") -> str:
        """The output of a docker command. Raises AssertionError with what it said on stderr."""
        done = self._run(*arguments, data=data, check=False)
        if done.returncode != 0:
            raise AssertionError(f"docker {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace").strip()

    def logs(self, container: str) -> str:
        """What the container has written: its stdout, then its stderr."""
        done = self._run("logs", container, check=True)
        return (done.stdout + done.stderr).decode(errors="replace")

    def _run(self, *arguments: str, data: bytes = b"", check: bool) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["docker", *arguments], input=data, capture_output=True, env=self._environ, check=check, timeout=DEADLINE
        )

    def close(self) -> None:
        """End it with its containers, and remove everything it made."""
        self.sandbox.close()
        if self._process is not None:
            self._process.wait(DEADLINE)
