"""The archive: its structure, what the image says of itself, and that the same input makes the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.watchdog.bundle.image import image_of, write_image

IMAGE = image_of("registry.example.org/watchdog:1", "x86_64", ("/penstock/fwatchdog",), 86400)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "python").write_bytes(b"a program")
    (folder / "lib" / "python").chmod(0o755)
    (folder / "bundle.json").write_text("{}")
    (folder / "bundle.json").chmod(0o644)
    (folder / "of-watchdog").symlink_to("fwatchdog")
    return folder


def archived(bundle: Path, name: str = "image.tar") -> Path:
    file = bundle.parent / name
    write_image(IMAGE, bundle, file)
    return file


def member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def document(archive: tarfile.TarFile, name: str) -> Any:
    return json.loads(member(archive, name))


def test_everything_is_found_by_its_digest(bundle: Path) -> None:
    with tarfile.open(archived(bundle)) as archive:
        [manifest] = document(archive, "manifest.json")
        assert manifest["RepoTags"] == ["registry.example.org/watchdog:1"]
        config = member(archive, manifest["Config"])
        assert manifest["Config"] == hashlib.sha256(config).hexdigest() + ".json"
        [layer] = manifest["Layers"]
        digest = hashlib.sha256(member(archive, layer)).hexdigest()
        assert layer == f"{digest}/layer.tar"
        assert json.loads(config)["rootfs"] == {"type": "layers", "diff_ids": [f"sha256:{digest}"]}


def test_the_image_starts_the_watchdog_and_asks_for_its_health(bundle: Path) -> None:
    with tarfile.open(archived(bundle)) as archive:
        [manifest] = document(archive, "manifest.json")
        config = document(archive, manifest["Config"])
    assert (config["architecture"], config["os"], config["created"]) == ("amd64", "linux", "1970-01-02T00:00:00Z")
    assert config["config"]["Entrypoint"] == ["/penstock/fwatchdog"]
    assert config["config"]["ExposedPorts"] == {"8080/tcp": {}}
    assert config["config"]["Healthcheck"]["Test"] == ["CMD", "/penstock/fwatchdog", "--run-healthcheck"]
    assert config["config"]["Env"][0].startswith("PATH=")
    assert config["config"]["Labels"]["org.opencontainers.image.version"] == penstock.__version__


def test_the_layer_is_roots_and_has_a_place_for_the_lock_file(bundle: Path) -> None:
    with tarfile.open(archived(bundle)) as archive:
        [manifest] = document(archive, "manifest.json")
        layer = member(archive, manifest["Layers"][0])
    with tarfile.open(fileobj=io.BytesIO(layer)) as files:
        entries = {entry.name: entry for entry in files}
    assert {name: (entry.mode, entry.type) for name, entry in entries.items()} == {
        "penstock": (0o755, tarfile.DIRTYPE),
        "penstock/bundle.json": (0o644, tarfile.REGTYPE),
        "penstock/lib": (0o755, tarfile.DIRTYPE),
        "penstock/lib/python": (0o755, tarfile.REGTYPE),
        "penstock/of-watchdog": (0o777, tarfile.SYMTYPE),
        "tmp": (0o1777, tarfile.DIRTYPE),
    }
    assert {(entry.uid, entry.gid, entry.uname, entry.mtime) for entry in entries.values()} == {(0, 0, "", 86400)}
    assert entries["penstock/of-watchdog"].linkname == "fwatchdog"


def test_the_same_files_make_the_same_bytes(bundle: Path) -> None:
    first = archived(bundle)
    os.utime(bundle / "bundle.json", (1e9, 1e9))
    assert archived(bundle, "again.tar").read_bytes() == first.read_bytes()


def test_nothing_is_left_beside_the_archive(bundle: Path) -> None:
    archived(bundle)
    assert sorted(path.name for path in bundle.parent.iterdir()) == ["bundle", "image.tar"]
