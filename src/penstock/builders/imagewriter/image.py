"""An image as data: what its configuration says, and its layers as blobs of the store. Documents that registries and engines read.

Formats: Docker Image Manifest V2 Schema 2 and the configuration of Docker Image Specification v1.2, which unlike OCI's keeps
health checks. OCI's are read as well.
"""

from __future__ import annotations

import copy
import hashlib
import json
from typing import Any

import msgspec

from penstock.errors import BuildFailed, NotSupported

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
PLAIN_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

MOST_LAYERS = 256
MOST_BLOB = 16 << 30
"""Bytes of a layer."""
_OF_OCI = {
    "application/vnd.oci.image.layer.v1.tar+gzip": LAYER,
    "application/vnd.oci.image.layer.v1.tar": PLAIN_LAYER,
    LAYER: LAYER,
    PLAIN_LAYER: PLAIN_LAYER,
}
_DIGEST_LENGTH = len("sha256:") + 64


class Layer(msgspec.Struct, frozen=True):
    """A blob of the store."""

    digest: str
    """Of the blob as it is sent, `sha256:…`."""
    size: int
    diff_id: str
    """Of the tar in it."""
    kind: str = LAYER


class Image(msgspec.Struct, frozen=True):
    """Layers from the lowest to the highest, and the configuration document."""

    config: dict[str, Any]
    layers: tuple[Layer, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """What containers of it are started with: Env, Cmd, Entrypoint and so on; a copy."""
        found = self.config.get("config")
        return copy.deepcopy(found) if isinstance(found, dict) else {}


class Descriptor(msgspec.Struct, frozen=True):
    """How one document names another."""

    digest: str
    size: int
    kind: str


def dump(document: object) -> bytes:
    """JSON that is always the same for the same document."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def is_digest(text: object) -> bool:
    """Whether it names a blob that we can check."""
    return (
        isinstance(text, str)
        and len(text) == _DIGEST_LENGTH
        and text.startswith("sha256:")
        and set(text[7:]) <= set("0123456789abcdef")
    )


def config_document(image: Image) -> bytes:
    """The configuration with the layers' digests in it."""
    return dump({**image.config, "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in image.layers]}})


def manifest_document(image: Image) -> bytes:
    """The manifest of an image."""
    config = config_document(image)
    layers = [{"mediaType": layer.kind, "size": layer.size, "digest": layer.digest} for layer in image.layers]
    described = {"mediaType": CONFIG, "size": len(config), "digest": digest_of(config)}
    return dump({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers})


def load(data: bytes, what: str) -> dict[str, Any]:
    """A document that came from outside. Raises BuildFailed."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BuildFailed(f"{what} is not JSON") from error
    if not isinstance(document, dict):
        raise BuildFailed(f"{what} is not a JSON object")
    return document


def read_manifest(document: dict[str, Any], what: str) -> tuple[Descriptor, list[Descriptor]]:
    """Configuration and layers that a manifest names. Raises BuildFailed, NotSupported."""
    layers = document.get("layers")
    if not isinstance(layers, list) or len(layers) > MOST_LAYERS:
        raise BuildFailed(f"{what} has no list of at most {MOST_LAYERS} layers")
    return descriptor(document.get("config"), what), [_layer(each, what) for each in layers]


def descriptor(value: object, what: str) -> Descriptor:
    """Raises BuildFailed for one that we cannot check."""
    if not isinstance(value, dict):
        raise BuildFailed(f"{what} names something by {str(value)[:60]!r}, which is no descriptor")
    digest, size, kind = value.get("digest"), value.get("size"), value.get("mediaType", "")
    if not is_digest(digest) or not isinstance(digest, str):
        raise BuildFailed(f"{what} names a blob by {str(digest)[:80]!r}, which is no SHA-256 digest")
    if type(size) is not int or not 0 <= size <= MOST_BLOB:
        raise BuildFailed(f"{what}: the size of {digest} is {str(size)[:40]!r}, which is none from 0 to {MOST_BLOB}")
    return Descriptor(digest, size, kind if isinstance(kind, str) else "")


def _layer(value: object, what: str) -> Descriptor:
    found = descriptor(value, what)
    if found.kind not in _OF_OCI:
        raise NotSupported(
            f"{what} has a layer of the kind {found.kind[:100]!r}, which is not tar or tar with gzip;"
            " build with --builder docker or buildah"
        )
    return Descriptor(found.digest, found.size, _OF_OCI[found.kind])


def image_of(config: dict[str, Any], layers: list[Descriptor], what: str) -> Image:
    """Puts a configuration and its layers together. Raises BuildFailed when they do not fit."""
    rootfs = config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(found, list) or len(found) != len(layers) or not all(is_digest(each) for each in found):
        raise BuildFailed(f"{what}: its configuration does not name the same layers as its manifest")
    pairs = zip(layers, found, strict=True)
    return Image(config, tuple(Layer(each.digest, each.size, diff_id, each.kind) for each, diff_id in pairs))
