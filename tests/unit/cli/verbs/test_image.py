"""`penstock image build`: where the image goes, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import BinaryIO

import pytest

import penstock
from penstock.image import build
from penstock.image.build import Request, Result
from penstock.watchdog.bundle.rehearse import Rehearsal
from tests.unit.cli.support import run_cli

RESULT = Result(
    image="penstock:1",
    form="docker",
    archive_bytes=65 << 20,
    layer_bytes=64 << 20,
    gateway=Rehearsal(0.5, 0, 0),
    watchdog=Rehearsal(0.07, 0, 0),
    certificates=Path("/etc/ssl/certs/ca-certificates.crt"),
    missing=(),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Request, Path]]:
    """What `make_file` was asked for."""
    calls: list[tuple[Request, Path]] = []

    def make_file(wanted: Request, target: Path) -> Result:
        calls.append((wanted, target))
        return RESULT

    monkeypatch.setattr(build, "make_file", make_file)
    return calls


def test_an_image_has_a_name_and_a_file_by_default(asked: list[tuple[Request, Path]]) -> None:
    assert run_cli("image", "build").exit_code == 0
    version = penstock.__version__
    assert asked == [(Request(f"penstock:{version}", "docker", 0), Path(f"penstock-{version}.tar"))]


def test_name_format_and_file_are_chosen(asked: list[tuple[Request, Path]]) -> None:
    run_cli("image", "build", "--tag", "example.org/x:2", "--format", "oci", "/somewhere/x.tar")
    assert asked == [(Request("example.org/x:2", "oci", 0), Path("/somewhere/x.tar"))]


@pytest.mark.usefixtures("asked")
def test_an_image_is_described() -> None:
    assert run_cli("image", "build", "/somewhere/x.tar").stdout.splitlines() == [
        "Image:       penstock:1",
        "File:        /somewhere/x.tar",
        "Format:      docker",
        "Size:        64.0 MiB, as a file 65.0 MiB",
        "Ready after: 500 ms on this machine",
        "Trusts:      /etc/ssl/certs/ca-certificates.crt",
    ]


@pytest.mark.usefixtures("asked")
def test_an_image_is_described_for_scripts() -> None:
    assert json.loads(run_cli("image", "build", "/somewhere/x.tar", "--json").stdout) == {
        "image": "penstock:1",
        "path": "/somewhere/x.tar",
        "format": "docker",
        "archiveBytes": 65 << 20,
        "layerBytes": 64 << 20,
        "readyMilliseconds": 500.0,
        "watchdogReadyMilliseconds": 70.0,
        "certificates": "/etc/ssl/certs/ca-certificates.crt",
        "missing": [],
    }


def test_what_the_image_lacks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = dataclasses.replace(RESULT, certificates=None, missing=("aiodocker",))
    monkeypatch.setattr(build, "make_file", lambda wanted, target: lacking)
    result = run_cli("image", "build")
    assert "aiodocker is not installed" in result.stderr
    assert "pip install 'penstock[docker,kubernetes,s3]'" in result.stderr
    assert "nobody" in result.stdout


def test_standard_output_gets_the_image_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_stream(wanted: Request, stream: BinaryIO) -> Result:
        stream.write(b"an image")
        return RESULT

    monkeypatch.setattr(build, "write_stream", write_stream)
    result = run_cli("image", "build", "-")
    assert (result.exit_code, result.stdout_bytes) == (0, b"an image")
    assert "Image:       penstock:1" in result.stderr
    assert "File:" not in result.stderr


@pytest.mark.parametrize("arguments", [("--tag", "UPPER"), ("--tag", ""), ("--format", "zip"), ("a.tar", "b.tar")])
def test_what_cannot_be_asked_for_exits_2(arguments: tuple[str, ...], asked: list[tuple[Request, Path]]) -> None:
    assert run_cli("image", "build", *arguments).exit_code == 2
    assert asked == []
