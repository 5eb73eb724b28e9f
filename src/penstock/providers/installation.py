"""The identifier of an installation, by which it knows its own containers, networks and volumes on an engine.

Called by the providers that use an engine. It is the setting, or a random one that is made once and kept in the home.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from penstock.errors import SettingsError
from penstock.settings import INSTALLATION, ServeSettings


def installation_of(settings: ServeSettings) -> str:
    """The setting `installation`, else the one kept in the home. Raises SettingsError when that file cannot be used."""
    return settings.installation or _kept(settings.paths.installation)


def _kept(path: Path) -> str:
    """The file's word, made on first use and readable by its owner only. Of two that make it at once the first wins."""
    try:
        if not path.exists():
            _make(path)
        word = path.read_text().strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"installation: {path} cannot be used: {error}") from error
    if not INSTALLATION.fullmatch(word):
        raise SettingsError(
            f"installation: {path} holds {word[:40]!r}, which is no identifier of an installation; restore the file. "
            "Without it the containers of before are no longer known as ours"
        )
    return word


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(6) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
