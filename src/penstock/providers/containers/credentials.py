"""Logins to registries, from where `docker login` keeps them: Docker's config.json and the credential helpers it names.

Called by `images` before a pull. The file is read anew each time, so that a login works at once. A login that cannot be read is
no failure yet, since most images need none: the trouble is kept, to be told when the registry refuses.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock.errors import PenstockError
from penstock.providers.containers.reference import HUB

HUB_SERVER = "https://index.docker.io/v1/"
"""What Docker calls its own registry in config.json."""
HELPER_TIMEOUT = 20.0
"""Seconds for a credential helper; those of clouds ask a server. The engine's own command waits without end."""
MOST = 1 << 20
"""Bytes of config.json, and of a helper's answer, that are read."""

_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_TOKEN = "<token>"  # noqa: S105 - not one: the user name by which helpers say that the secret is one
_NOTHING_FOUND = "credentials not found"


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """What is known for a registry. Its secret is only in the header."""

    header: str = ""
    """The value of X-Registry-Auth; empty when nothing is known."""
    user: str = ""
    trouble: str = ""
    """Why nothing may be known, in words."""

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, trouble={self.trouble!r})"


class _Unreadable(PenstockError):
    """Something that should hold a login cannot be read."""


class Credentials:
    """The logins of one user. `environ` is the server's: DOCKER_CONFIG or HOME say where config.json is, PATH where helpers are."""

    def __init__(self, environ: Mapping[str, str], helper_timeout: float = HELPER_TIMEOUT) -> None:
        self._environ = environ
        self._helper_timeout = helper_timeout

    @property
    def file(self) -> Path | None:
        """Where logins are kept; None when neither DOCKER_CONFIG nor HOME is set."""
        if folder := self._environ.get("DOCKER_CONFIG"):
            return Path(folder, "config.json")
        home = self._environ.get("HOME")
        return Path(home, ".docker", "config.json") if home else None

    async def find(self, registry: str) -> Login:
        """What is known for a registry such as `docker.io` or `ghcr.io`. Does not raise."""
        try:
            config = self._read()
            kept = _kept(config, registry)
        except _Unreadable as error:
            return Login(trouble=str(error))
        try:
            return await self._ask_helper(config, registry) or kept
        except _Unreadable as error:
            # Such as the file of a desktop on a server, which names a helper that is not there.
            return kept if kept.header else Login(trouble=str(error))

    def _read(self) -> Mapping[str, Any]:
        file = self.file
        if file is None:
            return {}
        try:
            with file.open("rb") as opened:
                data = opened.read(MOST + 1)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, ValueError) as error:
            raise _Unreadable(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error
        config = _object(data) if len(data) <= MOST else None
        if config is None:
            raise _Unreadable(f"{file} is not a JSON object of at most {MOST >> 20} MiB")
        return config

    async def _ask_helper(self, config: Mapping[str, Any], registry: str) -> Login | None:
        helpers = config.get("credHelpers")
        servers = _entries(helpers, registry) if isinstance(helpers, dict) else {}
        server, name = next(iter(servers.items()), (_server(registry), config.get("credsStore")))
        if not name:
            return None
        if not isinstance(name, str) or not _HELPER.fullmatch(name):
            raise _Unreadable(f"{self.file} names a credential helper that cannot be one: {str(name)[:64]!r}")
        return await asyncio.to_thread(self._run_helper, f"docker-credential-{name}", server, registry)

    def _run_helper(self, name: str, server: str, registry: str) -> Login | None:
        """None when the helper knows nothing of the server."""
        program = shutil.which(name, path=self._environ.get("PATH"))
        if program is None:
            raise _Unreadable(f"the credential helper {name}, which {self.file} names, is not in PATH")
        try:
            done = subprocess.run(
                [program, "get"],
                input=server.encode(),
                capture_output=True,
                check=False,
                env=dict(self._environ),
                timeout=self._helper_timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise _Unreadable(f"{name} does not answer within {self._helper_timeout:g} s") from error
        except OSError as error:
            raise _Unreadable(f"{name} cannot be started: {error.strerror}") from error
        if done.returncode != 0:
            said = (done.stdout + done.stderr)[:MOST].decode("utf-8", "replace").strip()
            if _NOTHING_FOUND in said:
                return None
            raise _Unreadable(f"{name} failed: {said[:200]!r}")
        answer = _object(done.stdout) if len(done.stdout) <= MOST else None
        if answer is None:
            raise _Unreadable(f"{name} answers with something that is not a JSON object")
        return _login(registry, answer.get("Username"), answer.get("Secret"))


def _kept(config: Mapping[str, Any], registry: str) -> Login:
    """What config.json itself keeps."""
    auths = config.get("auths")
    for entry in (_entries(auths, registry) if isinstance(auths, dict) else {}).values():
        if not isinstance(entry, dict):
            raise _Unreadable(f"the login for {registry} is not an object")
        user, password = entry.get("username"), entry.get("password")
        if entry.get("auth"):
            user, password = _decoded(entry["auth"], registry)
        token = entry.get("identitytoken")
        login = _login(registry, _TOKEN, token, user) if token else _login(registry, user, password)
        if login:
            return login
    return Login()


def _login(registry: str, user: Any, secret: Any, shown: Any = "") -> Login | None:
    """None where both are empty, which is what a logout leaves."""
    if not user and not secret:
        return None
    if not isinstance(user, str) or not isinstance(secret, str):
        raise _Unreadable(f"the login for {registry} has no user and secret")
    fields = {"identitytoken": secret} if user == _TOKEN else {"username": user, "password": secret}
    document = json.dumps(fields | {"serveraddress": _server(registry)})
    named = shown if user == _TOKEN and isinstance(shown, str) else user
    return Login(header=base64.urlsafe_b64encode(document.encode()).decode(), user="" if named == _TOKEN else named)


def _decoded(auth: Any, registry: str) -> tuple[str, str]:
    """User and password of `auth`, base64 of both with a colon between."""
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (TypeError, ValueError, binascii.Error) as error:
        raise _Unreadable(f"the login for {registry} is not base64 of user:password") from error
    if not colon or not user:
        raise _Unreadable(f"the login for {registry} is not base64 of user:password")
    return user, password.strip("\x00")


def _entries(table: Mapping[str, Any], registry: str) -> dict[str, Any]:
    """Those for the registry, by what they are called there, which may be a URL: the exact name first."""
    server = _server(registry)
    names = sorted((name for name in table if _host(name) == registry), key=lambda name: name != server)
    return {name: table[name] for name in names}


def _host(name: str) -> str:
    host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return HUB if host in ("index.docker.io", "registry-1.docker.io") else host


def _server(registry: str) -> str:
    return HUB_SERVER if registry == HUB else registry


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
