"""Debian's docker-registry in a sandbox: at 127.0.0.1 for the engine in it, which needs no TLS there, and by address for others."""

from __future__ import annotations

import ctypes
import json
import secrets
import signal
import socket
import subprocess

from tests.engines.sandbox import Program, Sandbox
from tests.engines.waiting import DEADLINE, wait_until

PORT = 5000


class RegistryFailed(Exception):
    """It does not start on this machine; the message is its log."""


class Registry:
    """From its start to its end; images stay while it is stopped."""

    host = f"127.0.0.1:{PORT}"
    """What the names of its images begin with, on the engine of its sandbox."""

    def __init__(self, sandbox: Sandbox, account: tuple[str, str] | None = None) -> None:
        """`account` is the user and the password that it asks for."""
        self.sandbox = sandbox
        self.address = f"{sandbox.address}:{PORT}"
        """The same for the machine, and on every node of the sandbox's Swarm."""
        self._folder = sandbox.folder / "registry"
        self._folder.mkdir()
        self._process: Program | None = None
        self._write_settings(account)
        self.start()

    def _write_settings(self, account: tuple[str, str] | None) -> None:
        settings: dict[str, object] = {
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": str(self._folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": f":{PORT}", "secret": secrets.token_hex()},
        }
        if account is not None:
            (self._folder / "accounts").write_text(f"{account[0]}:{bcrypt(account[1])}\n")
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(self._folder / "accounts")}}
        # JSON is YAML.
        (self._folder / "settings.yml").write_text(json.dumps(settings))

    def start(self) -> None:
        """Start it and wait until it listens. Raises RegistryFailed."""
        with (self._folder / "log").open("ab") as log:
            command = ["docker-registry", "serve", str(self._folder / "settings.yml")]
            self._process = self.sandbox.popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._listens, "docker-registry")

    def _listens(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RegistryFailed((self._folder / "log").read_text(errors="replace")[-3000:])
        try:
            socket.create_connection((self.sandbox.address, PORT), DEADLINE).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """Let it be away: connections to it are refused."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(DEADLINE)

    def close(self) -> None:
        """End it; its files go with the sandbox."""
        self.stop()


def bcrypt(password: str) -> str:
    """The only hash that docker-registry takes. Python's own crypt module is gone from 3.13."""
    crypt = ctypes.CDLL("libcrypt.so.1").crypt
    crypt.restype = ctypes.c_char_p
    salt = f"$2b$05${secrets.token_hex(11)}"
    hashed: bytes = crypt(password.encode(), salt.encode())
    return hashed.decode()
