"""Unix sockets of the control process, each in a private directory."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from penstock.directories import private_directory
from penstock.errors import SettingsError
from penstock.wire.server import bound_unix_socket


def listen_unix(path: Path) -> socket.socket:
    """A listening unix socket (0600) at `path`; what an earlier process left there is replaced. Raises SettingsError."""
    private_directory(path.parent)
    try:
        listener = bound_unix_socket(os.fspath(path), 0o600)
        listener.listen(1024)
    except OSError as error:
        raise SettingsError(f"{path}: cannot listen: {error}") from error
    listener.setblocking(False)
    return listener
