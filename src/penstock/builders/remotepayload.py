"""What a remote builder is sent: a tar with the context, what to make of it, and sealed secrets (contract watchdog-cli §4.4).

Made by `remote`. The same context gives the same bytes.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from penstock.builders.tree import walk

CONFIG = "com.openfaas.docker.config"
SECRETS = "com.openfaas.secrets"
_CONTEXT = "context"
_BLOCK = 1 << 20


class Config(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What is to be made of the context."""

    image: str
    build_args: dict[str, str] = {}
    platforms: tuple[str, ...] = ()
    skip_push: bool = False


def pack(file: BinaryIO, context: Path, config: Config, secrets: bytes = b"") -> None:
    """Write the tar; `secrets` is the envelope of sealed ones, empty where there are none. Raises InvalidInput, OSError."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(_entry(_CONTEXT, tarfile.DIRTYPE, 0o755))
        for entry in walk(context, what="context"):
            path = f"{_CONTEXT}/{entry.path}"
            if entry.kind == "folder":
                archive.addfile(_entry(path, tarfile.DIRTYPE, entry.mode & 0o777))
            elif entry.kind == "link":
                link = _entry(path, tarfile.SYMTYPE, 0o777)
                link.linkname = entry.target
                archive.addfile(link)
            else:
                _add_file(archive, _entry(path, tarfile.REGTYPE, entry.mode & 0o777), Path(entry.source))
        _add(archive, CONFIG, msgspec.json.encode(config))
        if secrets:
            _add(archive, SECRETS, secrets)


def sign(file: BinaryIO, secret: bytes) -> str:
    """The header's value for what follows in a file, which is read to its end."""
    total = hmac.new(secret, digestmod=hashlib.sha256)
    while block := file.read(_BLOCK):
        total.update(block)
    return f"sha256={total.hexdigest()}"


def secret_values(files: Mapping[str, Path]) -> dict[str, bytes]:
    """What the files of build secrets hold. Raises OSError."""
    return {name: path.read_bytes() for name, path in files.items()}


def _entry(path: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.type = kind
    entry.mode = mode
    return entry


def _add_file(archive: tarfile.TarFile, entry: tarfile.TarInfo, source: Path) -> None:
    with source.open("rb") as file:
        entry.size = file.seek(0, io.SEEK_END)
        file.seek(0)
        archive.addfile(entry, file)


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = _entry(name, tarfile.REGTYPE, 0o600)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))
