"""The keys of the store: read from the environment or a file where they are used, and shown to nobody.

Called by `objects.py` each time that a store is asked for keys, so that a file that is replaced counts within minutes.
"""

from __future__ import annotations

import configparser
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from penstock.storage.errors import StorageDenied


class Keys(NamedTuple):
    """An access key with its secret, and the token of a session where they are temporary."""

    access: str
    secret: str
    token: str = ""

    def __repr__(self) -> str:
        return "Keys(...)"


def load_keys(credentials_file: str, environ: Mapping[str, str]) -> Keys | None:
    """The keys of the file if one is named, else of the environment; None when there are none. Raises StorageDenied.

    No message holds anything of a file's content.
    """
    if credentials_file:
        path = Path(credentials_file).expanduser()
        try:
            return _of_directory(path) if path.is_dir() else _of_file(path)
        except OSError as error:
            raise StorageDenied(f"cannot read the credentials in {path}: {error.strerror}") from error
        except UnicodeError as error:
            raise StorageDenied(f"the credentials in {path} are no text") from error
    for access, secret, token in (
        ("PENSTOCK_S3_ACCESS_KEY", "PENSTOCK_S3_SECRET_KEY", ""),
        ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    ):
        found = environ.get(access, ""), environ.get(secret, "")
        if all(found):
            return _checked(Keys(*found, token=environ.get(token, "") if token else ""), "the environment")
        if any(found):
            missing = secret if found[0] else access
            raise StorageDenied(f"{missing} is not set, but {access if found[0] else secret} is: a key has two parts")
    return None


def _of_directory(path: Path) -> Keys:
    return _checked(
        Keys((path / "access-key").read_text().strip(), (path / "secret-key").read_text().strip()), str(path)
    )


def _of_file(path: Path) -> Keys:
    """The [default] of an ini file as of Amazon's tools."""
    parser = configparser.ConfigParser(default_section="", interpolation=None)
    try:
        parser.read_string(path.read_text())
        section = parser["default"]
        keys = Keys(
            section["aws_access_key_id"], section["aws_secret_access_key"], section.get("aws_session_token", "")
        )
    except (configparser.Error, KeyError):
        raise StorageDenied(
            f"{path} has no [default] with aws_access_key_id and aws_secret_access_key"
        ) from None  # the cause would show lines of the file
    return _checked(keys, str(path))


def _checked(keys: Keys, where: str) -> Keys:
    """Raises StorageDenied for what cannot be sent in a header."""
    if not keys.access or not keys.secret or not all(part.isascii() and part.isprintable() for part in keys):
        raise StorageDenied(f"the keys in {where} are empty or have characters that no key has")
    return keys
