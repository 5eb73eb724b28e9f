"""What is asked for, what the image says of itself, and what happens when it cannot be made. Nothing is made here."""

from __future__ import annotations

import errno
import io
import json
from pathlib import Path

import pytest

from penstock.errors import InvalidInput, NotSupported, PenstockError
from penstock.image import build
from penstock.image.build import Request, Result, image_of, make_file, request, write_stream
from penstock.settings import Home
from penstock.watchdog.bundle.archive import config_of
from penstock.watchdog.bundle.collect import Contents
from penstock.watchdog.bundle.rehearse import Part, Rehearsal

WANTED = Request("penstock:1")
RESULT = Result("penstock:1", "docker", 5, 5, Rehearsal(0.5, 0, 0), Rehearsal(0.1, 0, 0), None, ())


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """An image is five bytes."""

    def make(wanted: Request, place: Path) -> Result:
        (place / "layer").write_bytes(b"layer")
        (place / "image").write_bytes(b"image")
        return RESULT

    monkeypatch.setattr(build, "_make", make)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def make(wanted: Request, place: Path) -> Result:
        (place / "half").write_bytes(b"half of it")
        raise error

    monkeypatch.setattr(build, "_make", make)


def test_a_request_is_checked() -> None:
    assert request("Penstock".lower(), "oci", {"SOURCE_DATE_EPOCH": "5"}) == Request("penstock:latest", "oci", 5)
    with pytest.raises(InvalidInput, match="'Penstock'"):
        request("Penstock", "docker", {})
    with pytest.raises(InvalidInput, match="SOURCE_DATE_EPOCH"):
        request("penstock", "docker", {"SOURCE_DATE_EPOCH": "now"})


def test_the_image_serves_as_a_user_of_its_own() -> None:
    config = json.loads(config_of(image_of(WANTED, "x86_64"), "0" * 64))["config"]
    assert (config["Entrypoint"], config["Cmd"]) == (["/opt/penstock/penstock"], ["serve"])
    assert config["User"] == "12000"
    assert set(config["ExposedPorts"]) == {"8080/tcp", "8082/tcp"}
    assert config["Volumes"] == {"/var/lib/penstock": {}}
    assert config["Healthcheck"]["Test"] == ["CMD", "/opt/penstock/penstock", "health"]
    assert {"HOME=/var/lib/penstock", "PENSTOCK_HOME=/var/lib/penstock", "PENSTOCK_HOST=0.0.0.0"} <= set(config["Env"])
    assert config["Labels"]["org.opencontainers.image.title"] == "Penstock"


@pytest.mark.usefixtures("made")
def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "penstock.tar").write_text("an earlier one")
    assert make_file(WANTED, tmp_path / "penstock.tar") is RESULT
    assert (tmp_path / "penstock.tar").read_bytes() == b"image"
    assert [path.name for path in tmp_path.iterdir()] == ["penstock.tar"]


@pytest.mark.usefixtures("made")
def test_a_stream_gets_the_image_and_the_directory_for_temporary_files_is_left_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stream = io.BytesIO()
    write_stream(WANTED, stream)
    assert stream.getvalue() == b"image"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("made")
def test_a_full_disk_behind_the_stream_is_told() -> None:
    with (
        open("/dev/full", "wb", buffering=0) as stream,
        pytest.raises(PenstockError, match="standard output: No space left on device"),
    ):
        write_stream(WANTED, stream)


def test_a_full_disk_is_told_with_what_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(PenstockError, match=rf"{tmp_path}: No space left on device; an image takes about 250 MiB"):
        make_file(WANTED, tmp_path / "penstock.tar")
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, PermissionError(errno.EACCES, "Permission denied"))
    with pytest.raises(PenstockError, match=rf"cannot be written to {tmp_path}: Permission denied"):
        make_file(WANTED, tmp_path / "penstock.tar")


def test_a_directory_that_is_missing_and_one_in_the_files_place_are_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no directory"):
        make_file(WANTED, tmp_path / "none" / "penstock.tar")
    with pytest.raises(InvalidInput, match="exists and is not a file"):
        make_file(WANTED, tmp_path)


def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    (tmp_path / "penstock.tar").write_text("an earlier one")
    with pytest.raises(KeyboardInterrupt):
        make_file(WANTED, tmp_path / "penstock.tar")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["an earlier one"]


def test_another_system_than_linux_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(NotSupported, match="this is darwin"):
        make_file(WANTED, tmp_path / "penstock.tar")


def test_a_machine_without_a_launcher_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "collect_all", lambda: Contents("riscv64", {}, {}, {}, "lib/ld.so", ()))
    with pytest.raises(NotSupported, match="no launcher for riscv64"):
        make_file(WANTED, tmp_path / "penstock.tar")
    assert list(tmp_path.iterdir()) == []


def test_a_rehearsal_leaves_nothing_where_the_sockets_of_a_long_path_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / ("x" * 100)
    run = Home(home).run
    assert tmp_path not in run.parents

    def start(command: list[str], part: Part) -> Rehearsal:
        assert part.settings["PENSTOCK_HOME"] == str(home)
        run.mkdir()
        raise PenstockError("it does not start")

    monkeypatch.setattr(build, "rehearse", start)
    with pytest.raises(PenstockError, match="does not start"):
        build._rehearse(Contents("x86_64", {}, {}, {}, "lib/ld.so", ()), tmp_path, home)
    assert not run.exists()
