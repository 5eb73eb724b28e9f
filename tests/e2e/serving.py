"""A real `penstock serve` for end-to-end tests: started as a user would, spoken to over HTTP, stopped by its process id."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from tests.conftest import debian_path

START_DEADLINE = 120.0
"""Seconds until it must say that it is ready; generous, because test machines are shared."""

STOP_DEADLINE = 60.0
"""Seconds from SIGTERM to its end."""

REQUEST_TIMEOUT = 120.0

READY = re.compile(r"Penstock is ready at (http://\S+)\n")

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; names of header fields in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)


def wait_until(condition: Callable[[], T], what: str, deadline: float = START_DEADLINE) -> T:
    """The first true value of `condition`; raises TimeoutError that says what was waited for."""
    end = time.monotonic() + deadline
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline:.0f} s for {what}")
        time.sleep(0.05)
    return value


class Gateway:
    """A gateway that is spoken to over HTTP, wherever it runs."""

    base: str

    @property
    def user(self) -> str:
        return "admin"

    @property
    def password(self) -> str:
        raise NotImplementedError

    @property
    def address(self) -> tuple[str, int]:
        url = urlsplit(self.base)
        return url.hostname or "", url.port or 80

    @property
    def admin(self) -> dict[str, str]:
        """The header field that opens the admin branch."""
        return {"Authorization": "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()}

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        admin: bool = False,
    ) -> Answer:
        """One request on a connection of its own; the path goes out as it is given."""
        connection = http.client.HTTPConnection(*self.address, timeout=REQUEST_TIMEOUT)
        try:
            connection.request(method, path, body, {**(self.admin if admin else {}), **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def invoke(self, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
        """POST to a function: `path` is its name and what follows it."""
        return self.request("POST", f"/function/{path}", body, headers)

    def function(self, name: str) -> Any:
        """Status of one function; None when there is none."""
        answer = self.request("GET", f"/system/function/{name}", admin=True)
        return answer.json() if answer.status == 200 else None

    def wait_ready(self, name: str, replicas: int = 1) -> None:
        def ready() -> bool:
            status = self.function(name)
            return status is not None and status.get("availableReplicas", 0) >= replicas

        wait_until(ready, f"{replicas} ready replicas of {name}")


class Penstock(Gateway):
    """One running `penstock serve` with a home of its own. Replicas follow load only with the flag `--autoscaling`: most tests are
    about other things."""

    def __init__(
        self,
        *flags: str,
        home: Path | None = None,
        environ: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
    ) -> None:
        """`within` is the beginning of a command that becomes the one that follows it."""
        self._own_home = home is None
        self.home = home or Path(tempfile.mkdtemp(prefix="ps-"))
        self.environ = {**os.environ, "PATH": debian_path(), **(environ or {})}
        self.output = self.home / "serve.out"
        command = [
            sys.executable,
            "-m",
            "penstock",
            "serve",
            "--port",
            "0",
            "--metrics-port",
            "0",
            "--home",
            str(self.home),
            *(() if "--autoscaling" in flags else ("--no-autoscaling",)),
        ]
        with self.output.open("ab") as output:
            self._offset = output.tell()
            self.process = subprocess.Popen(
                [*within, *command, *flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environ,
                start_new_session=True,
            )
        try:
            self.base = wait_until(self._ready_url, "the ready line of penstock serve")
        except BaseException:
            self.kill()
            raise

    def printed(self) -> str:
        """Everything it has written on stdout and stderr since this start."""
        return self.output.read_bytes()[self._offset :].decode(errors="replace")

    @property
    def user(self) -> str:
        return (self.home / "auth" / "basic-auth-user").read_text().strip()

    @property
    def password(self) -> str:
        return (self.home / "auth" / "basic-auth-password").read_text().strip()

    def invoke_in_time(self, path: str, body: bytes = b"") -> Answer:
        """POST to a function with a short time limit, which a busy machine may exceed: the first answer that is not 504."""

        def answer() -> Answer | None:
            got = self.invoke(path, body)
            return got if got.status != 504 else None

        got = wait_until(answer, f"an answer of {path} in time")
        assert got is not None
        return got

    def deploy(self, name: str, program: str = "", **environment: str) -> Answer:
        """Deploy a function in the default namespace and wait until it is ready."""
        spec = {"service": name, "image": "", "envProcess": program, "envVars": environment}
        answer = self.request("POST", "/system/functions", json.dumps(spec).encode(), admin=True)
        if answer.status == 202:
            self.wait_ready(name)
        return answer

    def cli(
        self, *arguments: str, stdin: bytes = b"", folder: Path | None = None, **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the command line against this gateway, in a folder, with a home of its own for saved logins."""
        environ = {**self.environ, "OPENFAAS_URL": self.base, "HOME": str(self.home), **variables}
        return subprocess.run(
            [sys.executable, "-m", "penstock", *arguments],
            input=stdin,
            cwd=folder,
            capture_output=True,
            env=environ,
            timeout=300,
            check=False,
        )

    def stop(self) -> int:
        """SIGTERM, then its exit code. Raises TimeoutError when it does not end in time; what is left is killed."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"still running {STOP_DEADLINE:.0f} s after SIGTERM:\n{self.printed()[-4000:]}"
            ) from None
        finally:
            self.kill()

    def kill(self) -> None:
        """End whatever is left of it and remove its home."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._own_home:
            shutil.rmtree(self.home, ignore_errors=True)

    def _ready_url(self) -> str:
        if self.process.poll() is not None:
            raise RuntimeError(f"penstock serve ended with code {self.process.returncode}:\n{self.printed()[-4000:]}")
        found = READY.search(self.printed())
        return found[1].rstrip("/") if found else ""


@contextlib.contextmanager
def serving(*flags: str, environ: Mapping[str, str] | None = None) -> Iterator[Penstock]:
    """A `penstock serve` for as long as the context lasts. Ends it whatever happens; that it ends well is part of every test."""
    server = Penstock(*flags, environ=environ)
    try:
        yield server
        code = server.stop()
        assert code == 0, f"penstock serve ended with {code} after SIGTERM"
    finally:
        server.kill()
