"""How a registry wants to know who asks: Basic, or a token of a server that it names (distribution: Token Authentication).

Called by `registry`. The user's logins are those that Docker keeps, and that of `penstock registry-login` in ./credentials.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec

from penstock.builders.imagewriter.transport import Answer, Transport, check_url, is_loopback
from penstock.errors import BuildFailed, Unauthorized
from penstock.providers.containers.credentials import Credentials

FOLDER = "credentials"
"""Below the current directory, where `penstock registry-login` writes config.json (contract watchdog-cli §4.3)."""
_PARAMETER = re.compile(r'([a-zA-Z_]+)="([^"]*)"')


class User(msgspec.Struct, frozen=True):
    """A login. Not for logs."""

    name: str = ""
    password: str = ""
    token: str = ""
    """An identity token in place of both."""
    trouble: str = ""

    def __repr__(self) -> str:
        return f"User(name={self.name!r})"

    @property
    def basic(self) -> str:
        """The value of the header Authorization; empty for nobody."""
        pair = f"{self.name}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}" if self.name else ""


def find_user(registry: str, environ: Mapping[str, str]) -> User:
    """Who we are for a registry: as Docker knows it, else as ./credentials does."""
    places = [environ, {**environ, "DOCKER_CONFIG": str(Path.cwd() / FOLDER)}]
    trouble = ""
    for place in places:
        login = asyncio.run(Credentials(place).find(registry))
        trouble = trouble or login.trouble
        if login.header:
            kept: dict[str, Any] = json.loads(base64.urlsafe_b64decode(login.header))
            return User(kept.get("username", ""), kept.get("password", ""), kept.get("identitytoken", ""))
    return User(trouble=trouble)


def login_file(registry: str, environ: Mapping[str, str]) -> Path | None:
    """Docker's file, where DOCKER_CONFIG names it, or ours, if it has a login for the registry; for programs that know neither."""
    for folder in (environ.get("DOCKER_CONFIG"), str(Path.cwd() / FOLDER)):
        if folder and asyncio.run(Credentials({**environ, "DOCKER_CONFIG": folder}).find(registry)).header:
            return Path(folder).absolute() / "config.json"
    return None


class Auth:
    """What one builder has been given by registries. Safe for several threads."""

    def __init__(self, transport: Transport, environ: Mapping[str, str], users: Mapping[str, User] = {}) -> None:
        """`users` are those of registries for which nothing is looked up."""
        self._transport = transport
        self._environ = environ
        self._known: dict[tuple[str, str], str] = {}
        self._users = dict(users)
        self._lock = threading.Lock()

    def header(self, registry: str, scope: str) -> dict[str, str]:
        """What is known already."""
        with self._lock:
            value = self._known.get((registry, scope), "")
        return {"Authorization": value} if value else {}

    def forget(self, registry: str, scope: str) -> None:
        """A token that has run out."""
        with self._lock:
            self._known.pop((registry, scope), None)

    def answer(self, registry: str, scope: str, refused: Answer) -> None:
        """Get what a 401 asks for. Raises Unauthorized, BuildFailed."""
        user = self._user(registry)
        value = self._bearer(registry, scope, refused, user) or self._basic(registry, refused, user)
        if not value:
            raise self.unauthorized(registry)
        with self._lock:
            self._known[registry, scope] = value

    def unauthorized(self, registry: str) -> Unauthorized:
        """The error for who is refused."""
        user = self._user(registry)
        if user.name or user.token:
            return Unauthorized(
                f"{registry} refuses {user.name or 'the token'}: log in anew, or ask for the right to do this"
            )
        trouble = f" ({user.trouble})" if user.trouble else ""
        return Unauthorized(
            f"{registry} wants a login{trouble}: docker login {registry}, or penstock registry-login --server {registry}"
        )

    def _user(self, registry: str) -> User:
        with self._lock:
            if registry not in self._users:
                self._users[registry] = find_user(registry, self._environ)
            return self._users[registry]

    def _basic(self, registry: str, refused: Answer, user: User) -> str:
        asked = any(value.lower().startswith("basic") for value in refused.headers("WWW-Authenticate"))
        return user.basic if asked else ""

    def _bearer(self, registry: str, scope: str, refused: Answer, user: User) -> str:
        for challenge in refused.headers("WWW-Authenticate"):
            kind, _, rest = challenge.partition(" ")
            if kind.lower() == "bearer":
                return self._token(registry, scope, dict(_PARAMETER.findall(rest)), user)
        return ""

    def _token(self, registry: str, scope: str, asked: Mapping[str, str], user: User) -> str:
        realm = asked.get("realm", "")
        parts = check_url(realm)
        if parts.scheme != "https" and not (self._transport.is_plain(registry) or is_loopback(parts.hostname or "")):
            raise BuildFailed(f"{registry} wants a login sent to {realm[:200]!r}, which is not encrypted")
        asking = {"service": asked.get("service", ""), "scope": scope}
        wanted = {name: value for name, value in asking.items() if value}
        if user.token:
            form = {**wanted, "grant_type": "refresh_token", "refresh_token": user.token, "client_id": "penstock"}
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            request = self._transport.request("POST", realm, kind, urlencode(form).encode())
        else:
            joint = "&" if parts.query else "?"
            pairs = [(name, each) for name, value in wanted.items() for each in _parts(name, value)]
            header = {"Authorization": user.basic} if user.basic else {}
            request = self._transport.request("GET", f"{realm}{joint}{urlencode(pairs)}", header)
        with request as answer:
            if answer.status in (400, 401, 403):
                raise self.unauthorized(registry)
            if answer.status != 200:
                raise BuildFailed(f"{parts.netloc}: answers {answer.status} to who asks for a token for {registry}")
            return f"Bearer {_token_in(answer.read(), parts.netloc)}"


def _parts(name: str, value: str) -> list[str]:
    """A scope of several is given as several, where it is not a form's (distribution: Token Authentication Specification)."""
    return value.split(" ") if name == "scope" else [value]


def _token_in(data: bytes, server: str) -> str:
    try:
        document = json.loads(data)
        token = document.get("token") or document.get("access_token")
    except (ValueError, RecursionError, AttributeError) as error:
        raise BuildFailed(f"{server}: answers with something that holds no token") from error
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise BuildFailed(f"{server}: answers with something that is no token")
    return token
