"""Images in files that others have made, and that may be damaged or hostile."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest

from penstock.builders.imagewriter import tree as tree_module
from penstock.builders.imagewriter.archives import read_archive, write_archive
from penstock.builders.imagewriter.image import config_document, digest_of
from penstock.builders.imagewriter.store import Store
from penstock.errors import BuildFailed, InvalidInput, PenstockError

LAYER = io.BytesIO()
with tarfile.open(fileobj=LAYER, mode="w") as _archive:
    _archive.addfile(tarfile.TarInfo("x"))
PLAIN = LAYER.getvalue()
CONFIG = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [digest_of(PLAIN)]}}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store({"PENSTOCK_BUILDS": str(tmp_path / "builds")})


def archive(folder: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    path = folder / "image.tar"
    with tarfile.open(path, "w") as made:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            made.addfile(entry, io.BytesIO(data))
        for entry in more:
            made.addfile(entry)
    return path


def docker(layer: bytes = PLAIN, layers: object = ("layer.tar",), config: object = "config.json") -> dict[str, bytes]:
    manifest = [
        {"Config": config, "RepoTags": ["a:1"], "Layers": list(layers) if isinstance(layers, tuple) else layers}
    ]
    return {
        "manifest.json": json.dumps(manifest).encode(),
        "config.json": json.dumps(CONFIG).encode(),
        "layer.tar": layer,
    }


@pytest.mark.parametrize("layer", [PLAIN, gzip.compress(PLAIN)], ids=["plain", "packed"])
def test_what_is_written_can_be_read_again(store: Store, tmp_path: Path, layer: bytes) -> None:
    image = read_archive(archive(tmp_path, docker(layer)), store)
    assert [each.diff_id for each in image.layers] == [digest_of(PLAIN)]
    write_archive("a:1", image, store, tmp_path / "again.tar", 0)
    assert config_document(read_archive(tmp_path / "again.tar", store)) == config_document(image)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (docker(b"other"), "something else"),
        (docker(b"\x1f\x8bnonsense"), "damaged"),
        (docker(gzip.compress(PLAIN)[:-12]), "damaged"),
        (docker(gzip.compress(PLAIN)[:12] + b"\xff" * 40), "damaged"),
        (docker(layers=("../../../etc/passwd",)), "has no file '../../../etc/passwd'"),
        (docker(layers=("/etc/passwd",)), "has no file '/etc/passwd'"),
        (docker(layers=("nowhere",)), "has no file 'nowhere'"),
        (docker(layers=("\x1b[31m",)), r"has no file '\\x1b\[31m'"),
        (docker(layers="layer.tar"), "no list of at most"),
        (docker(layers=("layer.tar",) * 300), "no list of at most"),
        (docker(config=7), "names no image"),
        ({"manifest.json": b"[" * 100_000}, "not JSON"),
        ({"manifest.json": b"[]"}, "names no image"),
        ({"index.json": b'{"manifests": [{"digest": "sha256:../../etc/passwd", "size": 1}]}'}, "no SHA-256 digest"),
        ({"other": b"x"}, "is no image's archive"),
    ],
)
def test_hostile_archives(store: Store, tmp_path: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(PenstockError, match=words):
        read_archive(archive(tmp_path, files), store)


def test_links_among_the_files_lead_to_others_alone(store: Store, tmp_path: Path) -> None:
    def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        return entry

    image = read_archive(archive(tmp_path, docker(layers=("old/link",)), link("old/link", "../layer.tar")), store)
    assert len(image.layers) == 1
    for entry in (
        link("bad", "/etc/hostname"),
        link("bad", "bad"),
        link("bad", "config.json", tarfile.LNKTYPE),
        link("bad", "", tarfile.FIFOTYPE),
    ):
        with pytest.raises(BuildFailed, match="has no file 'bad'"):
            read_archive(archive(tmp_path, docker(layers=("bad",)), entry), store)


def test_a_layer_that_unpacks_without_end(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "MOST_BLOB", 1 << 20)
    with pytest.raises(BuildFailed, match="unpacks to more than"):
        read_archive(archive(tmp_path, docker(gzip.compress(bytes(1 << 22)))), store)


def test_a_header_that_would_fill_the_memory(store: Store, tmp_path: Path) -> None:
    entry = tarfile.TarInfo("pax")
    entry.type, entry.size = tarfile.XHDTYPE, 1 << 34
    (tmp_path / "image.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(BuildFailed, match="has a header of 17179869184 bytes"):
        read_archive(tmp_path / "image.tar", store)


@pytest.mark.parametrize("data", [b"", b"x" * 1024, gzip.compress(b"x")], ids=["empty", "noise", "no tar"])
def test_what_is_no_archive(store: Store, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "image.tar").write_bytes(data)
    with pytest.raises(BuildFailed, match="is not an image's archive"):
        read_archive(tmp_path / "image.tar", store)
    with pytest.raises(InvalidInput, match="there is no archive"):
        read_archive(tmp_path / "nowhere.tar", store)
