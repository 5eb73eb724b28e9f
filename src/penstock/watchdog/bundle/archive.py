"""Packs a layer and what an image says of itself as one file, written without any container engine.

Called by `image` and `penstock.image`. Two formats: the docker-archive that `docker load` reads (Docker Image Specification v1.2
with manifest.json), and an OCI image layout in a tar (image-spec 1.0), which registries' tools read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from penstock.watchdog.bundle.tar import Folder, Writer

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}
"""Go's names of machines, which images use."""

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FORMATS = ("docker", "oci")

_SECOND = 1_000_000_000
_BLOCK = 1 << 20
_OCI = "application/vnd.oci.image"


@dataclass(frozen=True, slots=True)
class Image:
    """What an image says of itself."""

    reference: str
    """Name and tag."""
    machine: str
    """As uname(1) names it."""
    when: int
    """Seconds since 1970 at which everything in it was made."""
    made_by: str
    """The command that made it."""
    labels: Mapping[str, str]
    """Without the time, which is added."""
    entrypoint: tuple[str, ...]
    health: tuple[str, ...]
    """The command that ends with 0 while all is well."""
    interval: int = 5
    """Seconds between two such checks."""
    command: tuple[str, ...] = ()
    user: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = (8080,)
    volumes: tuple[str, ...] = ()

    @property
    def created(self) -> str:
        return datetime.fromtimestamp(self.when, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def config_of(image: Image, layer: str) -> bytes:
    """The image's configuration; `layer` is the digest of its only layer. Docker and OCI read the same."""
    settings: dict[str, object] = {
        "Entrypoint": list(image.entrypoint),
        "Env": [f"{name}={value}" for name, value in {"PATH": SEARCH_PATH, **image.environ}.items()],
        "ExposedPorts": {f"{port}/tcp": {} for port in image.ports},
        "Healthcheck": {
            "Test": ["CMD", *image.health],
            "Interval": image.interval * _SECOND,
            "Timeout": 5 * _SECOND,
        },
        "Labels": {**image.labels, "org.opencontainers.image.created": image.created},
    }
    settings |= {"Cmd": list(image.command)} if image.command else {}
    settings |= {"User": image.user} if image.user else {}
    settings |= {"Volumes": {volume: {} for volume in image.volumes}} if image.volumes else {}
    return _json(
        {
            "architecture": ARCHITECTURES[image.machine],
            "os": "linux",
            "created": image.created,
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
            "history": [{"created": image.created, "created_by": image.made_by}],
        }
    )


def write_archive(image: Image, layer: Path, file: Path, form: str = "docker") -> None:
    """Write the image with that layer in one of `FORMATS`. Needs as much room again for a compressed layer. Raises OSError."""
    config = config_of(image, digest_of(layer))
    if form == "oci":
        _write_oci(image, config, layer, file)
    else:
        _write_docker(image, config, layer, file)


def _write_docker(image: Image, config: bytes, layer: Path, file: Path) -> None:
    digest, name = digest_of(layer), hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{name}.json", "Layers": [f"{digest}/layer.tar"], "RepoTags": [image.reference]}]
    with Writer(file, image.when) as archive:
        archive.folder(Folder(digest))
        archive.file(f"{digest}/layer.tar", layer)
        archive.data(f"{name}.json", config)
        archive.data("manifest.json", _json(manifest))


def _write_oci(image: Image, config: bytes, layer: Path, file: Path) -> None:
    packed = layer.with_name(f"{layer.name}.gz")
    try:
        _compress(layer, packed)
        digest = digest_of(packed)
        manifest = _json(
            {
                "schemaVersion": 2,
                "mediaType": f"{_OCI}.manifest.v1+json",
                "config": _descriptor("config.v1+json", config),
                "layers": [
                    {
                        "mediaType": f"{_OCI}.layer.v1.tar+gzip",
                        "digest": f"sha256:{digest}",
                        "size": packed.stat().st_size,
                    }
                ],
            }
        )
        with Writer(file, image.when) as archive:
            archive.data("oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
            archive.data("index.json", _json(_index(image, manifest)))
            archive.folder(Folder("blobs"))
            archive.folder(Folder("blobs/sha256"))
            for blob in (manifest, config):
                archive.data(f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)
            archive.file(f"blobs/sha256/{digest}", packed)
    finally:
        packed.unlink(missing_ok=True)


def _index(image: Image, manifest: bytes) -> dict[str, object]:
    """The layout's list of images: this one, under the names that skopeo and podman look for, and containerd and Docker."""
    names = {
        "org.opencontainers.image.ref.name": image.reference.rpartition(":")[2],
        "io.containerd.image.name": full_name(image.reference),
    }
    entry = {
        **_descriptor("manifest.v1+json", manifest),
        "platform": {"architecture": ARCHITECTURES[image.machine], "os": "linux"},
        "annotations": names,
    }
    return {"schemaVersion": 2, "mediaType": f"{_OCI}.index.v1+json", "manifests": [entry]}


def full_name(reference: str) -> str:
    """The name with the registry and the path that Docker adds to short ones."""
    first, slash, _ = reference.partition("/")
    if slash and (set(".:") & set(first) or first == "localhost"):
        return reference
    return f"docker.io/{reference}" if slash else f"docker.io/library/{reference}"


def _descriptor(kind: str, data: bytes) -> dict[str, object]:
    return {
        "mediaType": f"{_OCI}.{kind}",
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "size": len(data),
    }


def _compress(source: Path, target: Path) -> None:
    """With neither name nor time, so that the same file always becomes the same bytes."""
    with (
        open(source, "rb") as opened,
        open(target, "wb") as raw,
        gzip.GzipFile("", "wb", compresslevel=6, fileobj=raw, mtime=0) as packed,
    ):
        shutil.copyfileobj(opened, packed, _BLOCK)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
