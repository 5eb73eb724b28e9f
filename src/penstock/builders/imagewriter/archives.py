"""Images in files: what `docker save` and others write is read into the store, and what `docker load` reads is written.

Called by `bases` and `builder`. Formats: docker-archive with manifest.json, and an OCI image layout in a tar. Files of an archive
are found by their names in one pass and read as data; none is unpacked under its own name.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from penstock.builders.imagewriter.image import (
    LAYER,
    MANIFEST_LIST,
    MOST_LAYERS,
    OCI_INDEX,
    Descriptor,
    Image,
    Layer,
    config_document,
    descriptor,
    digest_of,
    dump,
    image_of,
    load,
    read_manifest,
)
from penstock.builders.imagewriter.store import Store
from penstock.builders.imagewriter.tree import Bounded, BoundedInfo, normal
from penstock.errors import BuildFailed, InvalidInput

MOST_DOCUMENT = 4 << 20
MOST_MEMBERS = 10_000
_BLOCK = 1 << 20


def read_archive(path: Path, store: Store) -> Image:
    """The only image, or the first, of an archive. Raises InvalidInput where there is none, BuildFailed for a damaged one."""
    try:
        with tarfile.open(path, "r:", tarinfo=BoundedInfo) as archive:
            files = _Files(archive, path)
            return _docker(files, store) if files.has("manifest.json") else _oci(files, store)
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no archive {str(path)!r}") from error
    except (tarfile.TarError, EOFError, ValueError, zlib.error, gzip.BadGzipFile, RecursionError) as error:
        raise BuildFailed(f"{path} is not an image's archive, or damaged: {error}") from error


class _Files:
    """An archive's files by their names; links among them lead to others, as those of old engines do."""

    def __init__(self, archive: tarfile.TarFile, path: Path) -> None:
        self.what = str(path)
        self._archive = archive
        self._entries: dict[str, tarfile.TarInfo] = {}
        for count, entry in enumerate(archive):
            if count == MOST_MEMBERS:
                raise BuildFailed(f"{path} has more than {MOST_MEMBERS} entries")
            name = normal(entry.name)
            if name is not None:
                self._entries[name] = entry

    def has(self, name: str) -> bool:
        return name in self._entries

    def open(self, name: str) -> BinaryIO:
        entry = self._entries.get(normal(name) or "")
        if entry is not None and entry.issym():
            folder = (normal(name) or "").rpartition("/")[0]
            entry = self._entries.get(_joined(folder, entry.linkname))
        opened = self._archive.extractfile(entry) if entry is not None and entry.isreg() else None
        if opened is None:
            raise BuildFailed(f"{self.what} has no file {name[:200]!r}, which it names")
        return opened  # type: ignore[return-value]

    def read(self, name: str) -> bytes:
        with self.open(name) as file:
            data = file.read(MOST_DOCUMENT + 1)
        if len(data) > MOST_DOCUMENT:
            raise BuildFailed(f"{self.what}: {name[:200]!r} is larger than {MOST_DOCUMENT} bytes")
        return data

    def blob(self, digest: str) -> bytes:
        data = self.read(_blob_name(digest))
        if digest_of(data) != digest:
            raise BuildFailed(f"{self.what}: {digest} is something else; it is refused")
        return data


def _joined(folder: str, target: str) -> str:
    parts = folder.split("/") if folder else []
    for part in target.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
    return "/".join(parts)


def _docker(files: _Files, store: Store) -> Image:
    listed = load(b'{"list":' + files.read("manifest.json") + b"}", f"manifest.json of {files.what}")["list"]
    first: Any = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, dict) or not isinstance(first.get("Config"), str):
        raise BuildFailed(f"manifest.json of {files.what} names no image")
    layers = first.get("Layers")
    if not isinstance(layers, list) or len(layers) > MOST_LAYERS or not all(isinstance(each, str) for each in layers):
        raise BuildFailed(f"manifest.json of {files.what} has no list of at most {MOST_LAYERS} layers")
    config = load(files.read(first["Config"]), f"the configuration in {files.what}")
    kept = [_keep_layer(files, name, store) for name in layers]
    described = [Descriptor(layer.digest, layer.size, layer.kind) for layer in kept]
    image = image_of(config, described, files.what)
    if [layer.diff_id for layer in kept] != [layer.diff_id for layer in image.layers]:
        raise BuildFailed(f"{files.what}: a layer is something else than its configuration says; it is refused")
    return image


def _keep_layer(files: _Files, name: str, store: Store) -> Layer:
    """A layer of a docker-archive, packed; it may be packed already."""
    with files.open(name) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        plain = Bounded(gzip.GzipFile(fileobj=file) if packed else file)
        total = hashlib.sha256()
        with store.writing() as (target, path):
            with gzip.GzipFile("", "wb", 6, fileobj=target, mtime=0) as zipped:
                while data := plain.read(_BLOCK):
                    total.update(data)
                    zipped.write(data)
            target.flush()
            with open(path, "rb") as written:
                digest = f"sha256:{hashlib.file_digest(written, 'sha256').hexdigest()}"
            size = path.stat().st_size
            store.keep(path, digest)
    return Layer(digest, size, f"sha256:{total.hexdigest()}", LAYER)


def _oci(files: _Files, store: Store) -> Image:
    if not files.has("index.json"):
        raise InvalidInput(f"{files.what} is no image's archive: it has neither manifest.json nor index.json")
    document = load(files.read("index.json"), f"index.json of {files.what}")
    for _ in range(3):
        entries = document.get("manifests")
        if not isinstance(entries, list) or not entries:
            raise BuildFailed(f"index.json of {files.what} names no image")
        found = descriptor(entries[0], files.what)
        document = load(files.blob(found.digest), files.what)
        if found.kind not in (OCI_INDEX, MANIFEST_LIST):
            break
    config, layers = read_manifest(document, files.what)
    for layer in layers:
        _keep_blob(files, layer, store)
    return image_of(load(files.blob(config.digest), files.what), layers, files.what)


def _keep_blob(files: _Files, blob: Descriptor, store: Store) -> None:
    if store.has(blob.digest, blob.size):
        return
    with files.open(_blob_name(blob.digest)) as file, store.writing() as (target, path):
        shutil.copyfileobj(file, target, _BLOCK)
        target.flush()
        with open(path, "rb") as written:
            digest = f"sha256:{hashlib.file_digest(written, 'sha256').hexdigest()}"
        if digest != blob.digest:
            raise BuildFailed(f"{files.what}: {blob.digest} is something else; it is refused")
        store.keep(path, digest)


def _blob_name(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def write_archive(name: str, image: Image, store: Store, file: Path, when: int) -> None:
    """Write an image for `docker load`; packed layers stay packed, which it reads too. Raises OSError."""
    config = config_document(image)
    config_name = f"{digest_of(config).removeprefix('sha256:')}.json"
    places = {layer.digest: f"{layer.digest.removeprefix('sha256:')}.tar.gz" for layer in image.layers}
    listed = [places[layer.digest] for layer in image.layers]
    manifest = dump([{"Config": config_name, "RepoTags": [name], "Layers": listed}])
    with tarfile.open(file, "w", format=tarfile.USTAR_FORMAT) as archive:
        for digest, place in places.items():
            with open(store.blob(digest), "rb") as blob:
                archive.addfile(_entry(place, store.blob(digest).stat().st_size, when), blob)
        for place, data in ((config_name, config), ("manifest.json", manifest)):
            archive.addfile(_entry(place, len(data), when), io.BytesIO(data))


def _entry(name: str, size: int, when: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = size, when
    return entry
