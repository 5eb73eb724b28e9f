"""Unix sockets in private directories, which replace stale ones."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from penstock.control.sockets import listen_unix
from penstock.errors import SettingsError


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_socket_is_private_and_so_is_its_directory(directory: Path) -> None:
    path = directory / "run" / "x.sock"
    listen_unix(path).close()
    assert (mode_of(path), mode_of(path.parent)) == (0o600, 0o700)


def test_a_stale_socket_is_replaced(directory: Path) -> None:
    path = directory / "x.sock"
    listen_unix(path).close()
    listen_unix(path).close()


def test_a_path_too_long_for_a_socket_is_a_settings_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot listen"):
        listen_unix(tmp_path / ("x" * 120))
