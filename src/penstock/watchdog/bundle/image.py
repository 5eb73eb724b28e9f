"""Packs a bundle as an image: a docker-archive that `docker load` and others read, written without any of them.

Called by `build`. One layer, which holds the bundle below /penstock and an empty /tmp for the lock file. Format: the Docker
Image Specification v1.2 with manifest.json.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import penstock
from penstock.watchdog.bundle.write import PLACE

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}
"""Go's names of machines, which images use."""

SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECOND = 1_000_000_000
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """What an image says of itself."""

    reference: str
    """Name and tag."""
    machine: str
    """As uname(1) names it."""
    entrypoint: tuple[str, ...]
    when: int
    """Seconds since 1970 at which everything in it was made."""


def write_archive(image: Image, bundle: Path, file: Path) -> None:
    """Write the image with the bundle in that directory. Raises OSError."""
    layer = file.with_name(f"{file.name}.layer")
    try:
        write_layer(bundle, image.when, layer)
        digest = _digest(layer)
        config = _json(_config(image, digest))
        name = hashlib.sha256(config).hexdigest()
        manifest = _json([{"Config": f"{name}.json", "Layers": [f"{digest}/layer.tar"], "RepoTags": [image.reference]}])
        with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as archive:
            archive.addfile(_entry(digest, tarfile.DIRTYPE, image.when))
            with open(layer, "rb") as opened:
                entry = _entry(f"{digest}/layer.tar", tarfile.REGTYPE, image.when)
                entry.size = layer.stat().st_size
                archive.addfile(entry, opened)
            _add(archive, f"{name}.json", config, image.when)
            _add(archive, "manifest.json", manifest, image.when)
    finally:
        layer.unlink(missing_ok=True)


def write_layer(bundle: Path, when: int, file: Path) -> None:
    """Write the image's only layer: the same bytes for the same files, in whatever order the directory lists them."""
    root = PLACE.strip("/")
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(_entry(root, tarfile.DIRTYPE, when))
        for path in sorted(bundle.rglob("*")):
            _add_path(archive, path, f"{root}/{path.relative_to(bundle)}", when)
        temporary = _entry("tmp", tarfile.DIRTYPE, when)
        temporary.mode = 0o1777
        archive.addfile(temporary)


def _add_path(archive: tarfile.TarFile, path: Path, name: str, when: int) -> None:
    if path.is_symlink():
        link = _entry(name, tarfile.SYMTYPE, when)
        link.mode = 0o777
        link.linkname = str(path.readlink())
        archive.addfile(link)
    elif path.is_dir():
        archive.addfile(_entry(name, tarfile.DIRTYPE, when))
    else:
        with open(path, "rb") as opened:
            entry = _entry(name, tarfile.REGTYPE, when)
            entry.mode = path.stat().st_mode & 0o777
            entry.size = path.stat().st_size
            archive.addfile(entry, opened)


def _entry(name: str, kind: bytes, when: int) -> tarfile.TarInfo:
    """Root's, and as old as everything else."""
    entry = tarfile.TarInfo(name)
    entry.type = kind
    entry.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    entry.mtime = when
    return entry


def _add(archive: tarfile.TarFile, name: str, data: bytes, when: int) -> None:
    entry = _entry(name, tarfile.REGTYPE, when)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _config(image: Image, layer: str) -> dict[str, object]:
    created = datetime.fromtimestamp(image.when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    labels = {
        "org.opencontainers.image.title": "Penstock watchdog",
        "org.opencontainers.image.description": "Serves one program over HTTP, in an image of any kind",
        "org.opencontainers.image.version": penstock.__version__,
        "org.opencontainers.image.licenses": "MIT",
        "org.opencontainers.image.created": created,
    }
    return {
        "architecture": ARCHITECTURES[image.machine],
        "os": "linux",
        "created": created,
        "config": {
            "Entrypoint": list(image.entrypoint),
            "Env": [SEARCH_PATH],
            "ExposedPorts": {"8080/tcp": {}},
            "Healthcheck": {
                "Test": ["CMD", *image.entrypoint, "--run-healthcheck"],
                "Interval": 5 * _SECOND,
                "Timeout": 5 * _SECOND,
            },
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
        "history": [{"created": created, "created_by": f"penstock watchdog bundle {penstock.__version__}"}],
    }


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
