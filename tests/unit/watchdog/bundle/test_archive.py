"""The two formats: everything is found by its digest, names are where each tool looks, and the same input makes the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from penstock.watchdog.bundle.archive import FORMATS, Image, config_of, full_name, write_archive

IMAGE = Image(
    "registry.example.org/team/app:1",
    "aarch64",
    86400,
    made_by="a test",
    labels={"org.opencontainers.image.title": "A test"},
    entrypoint=("/app",),
    health=("/app", "health"),
    interval=10,
    command=("serve",),
    user="12000",
    environ={"HOME": "/home", "EMPTY": ""},
    ports=(8080, 8082),
    volumes=("/home",),
)
PLAIN = Image("app:1", "x86_64", 0, made_by="a test", labels={}, entrypoint=("/app",), health=("/app", "health"))


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    file = tmp_path / "layer"
    file.write_bytes(b"a layer " * 1000)
    return file


@pytest.fixture
def layout(layer: Path) -> dict[str, bytes]:
    """Files of the image's OCI layout by name."""
    file = layer.with_name("image.tar")
    write_archive(IMAGE, layer, file, "oci")
    found = {}
    with tarfile.open(file) as archive:
        for entry in archive:
            opened = archive.extractfile(entry)
            if opened is not None:
                found[entry.name] = opened.read()
    return found


def blob(layout: dict[str, bytes], descriptor: dict[str, Any]) -> bytes:
    """What a descriptor names, of the size that it says."""
    data = layout["blobs/" + descriptor["digest"].replace(":", "/")]
    assert descriptor["size"] == len(data)
    return data


def test_every_blob_of_a_layout_is_called_by_its_digest(layout: dict[str, bytes]) -> None:
    blobs = {name: data for name, data in layout.items() if name.startswith("blobs/sha256/")}
    assert len(blobs) == 3
    assert {name: f"blobs/sha256/{hashlib.sha256(data).hexdigest()}" for name, data in blobs.items()} == {
        name: name for name in blobs
    }


def test_a_layout_leads_from_its_index_to_the_layer(layout: dict[str, bytes], layer: Path) -> None:
    assert json.loads(layout["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    [entry] = json.loads(layout["index.json"])["manifests"]
    assert entry["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert entry["platform"] == {"architecture": "arm64", "os": "linux"}
    manifest = json.loads(blob(layout, entry))
    assert manifest["schemaVersion"] == 2
    [packed] = manifest["layers"]
    assert packed["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert gzip.decompress(blob(layout, packed)) == layer.read_bytes()
    config = json.loads(blob(layout, manifest["config"]))
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer.read_bytes()).hexdigest()}"]


def test_a_layout_has_the_name_where_skopeo_and_containerd_look_for_it(layout: dict[str, bytes]) -> None:
    [entry] = json.loads(layout["index.json"])["manifests"]
    assert entry["annotations"] == {
        "org.opencontainers.image.ref.name": "1",
        "io.containerd.image.name": "registry.example.org/team/app:1",
    }


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("app:1", "docker.io/library/app:1"),
        ("team/app:1", "docker.io/team/app:1"),
        ("localhost/app:1", "localhost/app:1"),
        ("registry:5000/app:1", "registry:5000/app:1"),
    ],
)
def test_a_short_name_is_one_of_docker_hub(short: str, full: str) -> None:
    assert full_name(short) == full


def test_a_configuration_holds_what_the_image_was_told() -> None:
    config = json.loads(config_of(IMAGE, "0" * 64))
    assert config["config"] == {
        "Entrypoint": ["/app"],
        "Cmd": ["serve"],
        "User": "12000",
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/home", "EMPTY="],
        "ExposedPorts": {"8080/tcp": {}, "8082/tcp": {}},
        "Volumes": {"/home": {}},
        "Healthcheck": {"Test": ["CMD", "/app", "health"], "Interval": 10_000_000_000, "Timeout": 5_000_000_000},
        "Labels": {
            "org.opencontainers.image.title": "A test",
            "org.opencontainers.image.created": "1970-01-02T00:00:00Z",
        },
    }
    assert config["history"] == [{"created": "1970-01-02T00:00:00Z", "created_by": "a test"}]


def test_what_an_image_was_not_told_is_not_in_its_configuration() -> None:
    assert {"Cmd", "User", "Volumes"} & set(json.loads(config_of(PLAIN, "0" * 64))["config"]) == set()


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_layer_makes_the_same_bytes(layer: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_archive(IMAGE, layer, layer.with_name("first"), form)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    other = layer.with_name("of another name")
    other.write_bytes(layer.read_bytes())
    write_archive(IMAGE, other, layer.with_name("second"), form)
    assert layer.with_name("first").read_bytes() == layer.with_name("second").read_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_left_beside_an_archive(layer: Path, form: str) -> None:
    write_archive(IMAGE, layer, layer.with_name("image.tar"), form)
    assert sorted(path.name for path in layer.parent.iterdir()) == ["image.tar", "layer"]
