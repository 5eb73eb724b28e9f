"""Admin credentials and the one guard that stands before the whole admin branch (contract gateway §7.1).

`control.process` loads the credentials at start, `control.app` puts the guard in front of every route. Who may call
functions is not decided here: function traffic never reaches the control process.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.control.errors import plain_error, unauthorized
from penstock.control.sockets import private_directory
from penstock.errors import SettingsError
from penstock.settings import SECRETS_VARIABLE, Home

log = logging.getLogger(__name__)

DEFAULT_USER = "admin"
_ALWAYS_GUARDED = frozenset(("system", "ui"))
_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


@dataclass(frozen=True)
class Credentials:
    """The one admin account."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, password=<hidden>)"

    def accept(self, authorization: str) -> bool:
        """Whether this `Authorization` value is ours. Both halves are always compared, each in constant time."""
        scheme, _, encoded = authorization.partition(" ")
        if scheme.lower() != "basic":
            return False
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            return False
        user, colon, password = decoded.partition(b":")
        right_user = hmac.compare_digest(user, self.user.encode())
        right_password = hmac.compare_digest(password, self.password.encode())
        return right_user and right_password and bool(colon)


def load_credentials(home: Home, environ: Mapping[str, str]) -> Credentials:
    """The admin account: from the directory in `secret_mount_path`, else from `home`, where a first start creates it.

    Raises SettingsError for a file that is missing from that directory, cannot be read, written or is empty.
    """
    mounted = environ.get(SECRETS_VARIABLE, "")
    if mounted:
        directory = Path(mounted)
        return _read_credentials(directory / home.user_file.name, directory / home.password_file.name)
    try:
        private_directory(home.auth)
        _create_file(home.user_file, DEFAULT_USER)
        if _create_file(home.password_file, secrets.token_urlsafe(32)):
            log.info("admin password generated in %s", home.password_file)
    except OSError as error:
        raise SettingsError(f"admin credentials cannot be kept in {home.auth}: {error.strerror}") from error
    return _read_credentials(home.user_file, home.password_file)


def _read_credentials(user_file: Path, password_file: Path) -> Credentials:
    return Credentials(_read_credential(user_file), _read_credential(password_file))


def _read_credential(path: Path) -> str:
    try:
        value = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"admin credentials: {path} cannot be read: {error}") from error
    if not value:
        raise SettingsError(f"admin credentials: {path} is empty")
    return value


def _create_file(path: Path, content: str) -> bool:
    """Write a 0600 file that appears complete or not at all. False when there is one already, which stays as it is."""
    if path.exists():
        return False
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{content}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:  # another process was faster: its file counts
        return False
    finally:
        draft.unlink()
    return True


class Guard:
    """ASGI middleware: only `public` paths, and branches without any route, are reachable without credentials.

    Without credentials (`--no-auth`) it still refuses what a web page could do to a local service behind its user's
    back: requests from other origins, and names that only resolve to this machine (DNS rebinding).
    """

    def __init__(
        self, app: ASGIApp, credentials: Credentials | None, public: frozenset[str], paths: frozenset[str]
    ) -> None:
        """`paths`: the routes' path patterns; `public`: those among them that need no credentials."""
        self._app = app
        self._credentials = credentials
        self._public = public
        self._branches = _ALWAYS_GUARDED | {_branch(path) for path in paths - public}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path not in self._public and _branch(path) in self._branches:
            headers = Headers(scope=scope)
            if self._credentials and not self._credentials.accept(headers.get("authorization", "")):
                return await unauthorized()(scope, receive, send)
            fault = _foreign_page(scope["method"], headers) or (not self._credentials and _foreign_host(headers))
            if fault:
                return await plain_error(403, fault)(scope, receive, send)
        await self._app(scope, receive, send)


def _branch(path: str) -> str:
    return path.lstrip("/").partition("/")[0]


def _foreign_page(method: str, headers: Headers) -> str:
    """Why a browser's request from another site is refused; empty when it is not one. Only browsers send these headers.

    A browser adds saved credentials to any page's request, so that without this check a page could deploy programs.
    """
    if method in _SAFE_METHODS:
        return ""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    # A proxy may put its own name into Host; no page can send X-Forwarded-Host to another site unasked.
    ours = (headers.get("host"), headers.get("x-forwarded-host"))
    foreign = site not in ("same-origin", "none") if site else bool(origin) and _host_of(origin) not in ours
    return "refused: the request comes from a page of another site" if foreign else ""


def _foreign_host(headers: Headers) -> str:
    """Why a Host that is not this machine's loopback is refused; `--no-auth` exists on loopback only."""
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or "localhost"
    except ValueError:
        return "refused: the Host header cannot be read"
    if name == "localhost" or name.endswith(".localhost") or _is_loopback(name):
        return ""
    return "refused: without authentication only loopback host names are served, use localhost or 127.0.0.1"


def _host_of(origin: str | None) -> str:
    return (origin or "").partition("://")[2]


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
