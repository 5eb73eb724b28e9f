"""The one admin account: where it is kept, and whether a request's credentials are its.

`control.process` loads it at start for the REST API, gateway workers for requests that use object storage. Which paths are
guarded is not decided here.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.directories import private_directory
from penstock.errors import SettingsError
from penstock.settings import SECRETS_VARIABLE, Home

log = logging.getLogger(__name__)

DEFAULT_USER = "admin"


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
