"""Blobs by their digests and images by their names, below the builds. Safe for several threads and processes.

<root>/blobs/<hex>       a blob, complete and checked
<root>/names/<hex>.json  which manifest an image's name stands for; the file's name is the digest of that name
<root>/places/<hex>      in which repositories the blob of that digest is known to be, by registry
<root>/.part-…           what is being written
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from penstock.builders.imagewriter.image import (
    Image,
    Layer,
    config_document,
    digest_of,
    image_of,
    is_digest,
    load,
    manifest_document,
    read_manifest,
)
from penstock.builders.native.store import builds_root
from penstock.errors import BuildFailed

FOLDER = ".images"
"""Among the builds; no function can be called that."""
UNUSED = 7 * 86_400.0
"""Seconds until a blob that no name leads to is taken away: those of a build that goes on are not named yet."""

_MOST_PLACES = 16
"""Registries for each blob, the latest ones."""


class _Name(msgspec.Struct, frozen=True):
    name: str
    manifest: str


class Store:
    """Everything that the image writer keeps."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.root = builds_root(environ) / FOLDER
        self._blobs = self.root / "blobs"
        self._names = self.root / "names"
        self._made = self.root / "made"
        self._places = self.root / "places"

    def blob(self, digest: str) -> Path:
        """Where it is, or would be."""
        return self._blobs / digest.removeprefix("sha256:")

    def has(self, digest: str, size: int) -> bool:
        """Whether it is there; using it keeps it."""
        try:
            held = self.blob(digest).stat().st_size == size
            if held:
                os.utime(self.blob(digest))
        except FileNotFoundError:
            return False
        return held

    @contextlib.contextmanager
    def writing(self) -> Iterator[tuple[BinaryIO, Path]]:
        """A file for a blob that is to be kept by `keep`; gone afterwards if it was not."""
        self._blobs.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=".part-", dir=self.root)
        try:
            with open(number, "wb") as file:
                yield file, Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def keep(self, path: Path, digest: str) -> None:
        """Make a file that is complete, and is what the digest says, a blob."""
        path.replace(self.blob(digest))

    def add(self, data: bytes) -> str:
        """Keep a small blob; its digest."""
        digest = digest_of(data)
        if not self.has(digest, len(data)):
            with self.writing() as (file, path):
                file.write(data)
                file.flush()
                self.keep(path, digest)
        return digest

    def read(self, digest: str) -> bytes:
        """A small blob. Raises FileNotFoundError, BuildFailed when the disk has spoiled it."""
        data = self.blob(digest).read_bytes()
        if digest_of(data) != digest:
            self.blob(digest).unlink(missing_ok=True)
            raise BuildFailed(f"{self.blob(digest)} is damaged and was taken away; build again")
        return data

    def name(self, name: str, image: Image) -> str:
        """Let a name stand for an image whose layers are here; the digest of its manifest."""
        self.add(config_document(image))
        digest = self.add(manifest_document(image))
        self._put(self._name_file(name), msgspec.json.encode(_Name(name, digest)))
        return digest

    def named(self, name: str) -> str:
        """The digest of the manifest that a name stands for; empty where it stands for none."""
        found = self._read_name(self._name_file(name))
        return found.manifest if found and found.name == name else ""

    def find(self, name: str) -> Image | None:
        """The image of a name; None unless all of it is here."""
        digest = self.named(name)
        image = self._load(digest) if digest else None
        if image is None or not all(self.has(layer.digest, layer.size) for layer in image.layers):
            return None
        return image

    def made(self, key: str) -> Layer | None:
        """The layer that came of the same before, if it is here."""
        try:
            layer = msgspec.json.decode(self._made_file(key).read_bytes(), type=Layer)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return layer if is_digest(layer.digest) and self.has(layer.digest, layer.size) else None

    def remember(self, key: str, layer: Layer) -> None:
        """Let `made` find it."""
        self._put(self._made_file(key), msgspec.json.encode(layer))

    def place(self, registry: str, digest: str) -> str:
        """A repository of that registry in which a blob was last seen; empty where none is known."""
        return self._known_places(digest).get(registry, "")

    def remember_place(self, registry: str, digest: str, repository: str) -> None:
        """Let `place` find it."""
        known = self._known_places(digest)
        if known.get(registry) != repository:
            others = {name: place for name, place in known.items() if name != registry}
            kept = dict([*others.items(), (registry, repository)][-_MOST_PLACES:])
            self._put(self._place_file(digest), msgspec.json.encode(kept))

    def _known_places(self, digest: str) -> dict[str, str]:
        try:
            return msgspec.json.decode(self._place_file(digest).read_bytes(), type=dict[str, str])
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return {}

    def _place_file(self, digest: str) -> Path:
        return self._places / digest.removeprefix("sha256:")

    def prune(self) -> None:
        """Take away blobs that no name has led to for a while."""
        used = set(self._used())
        limit = time.time() - UNUSED
        folders = {"blobs", "names", "made", "places"}
        kept_in = ((self._blobs, used), (self._places, used), (self._made, set[str]()), (self.root, folders))
        for folder, kept in kept_in:
            for path in folder.glob("*"):
                with contextlib.suppress(FileNotFoundError):
                    if path.name not in kept and path.stat().st_mtime < limit:
                        path.unlink()

    def _used(self) -> Iterable[str]:
        for path in self._names.glob("*.json"):
            if found := self._read_name(path):
                image = self._load(found.manifest)
                digests = [found.manifest]
                if image is not None:
                    digests += [digest_of(config_document(image)), *(layer.digest for layer in image.layers)]
                yield from (digest.removeprefix("sha256:") for digest in digests)

    def _load(self, manifest: str) -> Image | None:
        what = f"the manifest {manifest}"
        try:
            config, layers = read_manifest(load(self.read(manifest), what), what)
            return image_of(load(self.read(config.digest), what), layers, what)
        except FileNotFoundError:
            return None

    def _put(self, target: Path, data: bytes) -> None:
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.writing() as (file, path):
            file.write(data)
            file.flush()
            path.replace(target)

    def _made_file(self, key: str) -> Path:
        return self._made / f"{hashlib.sha256(key.encode()).hexdigest()}.json"

    def _name_file(self, name: str) -> Path:
        return self._names / f"{hashlib.sha256(name.encode()).hexdigest()}.json"

    @staticmethod
    def _read_name(path: Path) -> _Name | None:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_Name)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return found if is_digest(found.manifest) else None
