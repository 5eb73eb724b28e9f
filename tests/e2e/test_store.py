"""The function store on a running gateway, as a user types it: look, deploy, call with real input."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import debian_path
from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving

INPUT = Path(__file__).parents[2] / "examples" / "input"


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving() as running:
        yield running


@pytest.fixture
def folder(workshop: Workshop) -> Path:
    """An empty folder to type in, which builds must leave as it is."""
    folder = workshop.file("elsewhere")
    folder.mkdir(exist_ok=True)
    return folder


def run(
    server: Penstock, folder: Path, *arguments: str, stdin: bytes = b"", path: str = ""
) -> subprocess.CompletedProcess[bytes]:
    variables = {"PENSTOCK_HOME": str(server.home), "PENSTOCK_BUILDS": str(folder.parent / "builds")}
    return server.cli(*arguments, stdin=stdin, folder=folder, PATH=path or debian_path(), **variables)


def ok(server: Penstock, folder: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    done = run(server, folder, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def png(width: int, height: int) -> bytes:
    """A picture of one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\0\0" * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_list_and_inspect_need_no_gateway(server: Penstock, folder: Path) -> None:
    listed = json.loads(ok(server, folder, "store", "list", "--json"))
    assert {"figlet", "jq", "nodeinfo", "thumbnail"} <= {function["name"] for function in listed}
    assert b"figlet" in ok(server, folder, "store", "ls")
    assert b"Packages:       imagemagick" in ok(server, folder, "store", "inspect", "thumbnail")


@pytest.mark.service("figlet", "jq", "cmark")
def test_text_functions_answer(server: Penstock, folder: Path) -> None:
    for name in ("figlet", "wc", "jq", "shasum", "markdown", "base64"):
        ok(server, folder, "store", "deploy", name)
    assert b"|_|" in ok(server, folder, "invoke", "figlet", stdin=b"hi")
    assert ok(server, folder, "invoke", "wc", stdin=b"one two\nthree\n").split() == [b"2", b"3", b"14"]
    assert ok(server, folder, "invoke", "jq", stdin=b'{"a":[1]}') == b'{\n  "a": [\n    1\n  ]\n}\n'
    assert hashlib.sha512(b"x").hexdigest().encode() in ok(server, folder, "invoke", "shasum", stdin=b"x")
    assert b"<h1>Head</h1>" in ok(server, folder, "invoke", "markdown", stdin=b"# Head\n")
    assert ok(server, folder, "invoke", "base64", stdin=b"\x00\xff") == b"AP8="


@pytest.mark.service("convert", "identify", "qrencode", "tesseract")
def test_pictures_are_read_and_written(server: Penstock, folder: Path) -> None:
    for name in ("thumbnail", "identify", "qrcode", "ocr"):
        ok(server, folder, "store", "deploy", name)
    half = ok(server, folder, "invoke", "thumbnail", "--content-type", "image/png", stdin=png(40, 20))
    assert struct.unpack(">II", half[16:24]) == (20, 10)
    assert b"PNG 40x20" in ok(server, folder, "invoke", "identify", stdin=png(40, 20))
    code = ok(server, folder, "invoke", "qrcode", stdin=b"https://example.com")
    assert code.startswith(b"\x89PNG")
    words = ok(server, folder, "invoke", "ocr", stdin=(INPUT / "sentence.png").read_bytes())
    assert words.split() == b"A penstock carries water to the turbine below.".split()


@pytest.mark.service("jq")
def test_flags_win_over_the_store(server: Penstock, folder: Path) -> None:
    flags = ("--name", "names", "--fprocess", "jq -c .name", "-e", "mode=streaming", "-l", "com.openfaas.ui.ext=txt")
    ok(server, folder, "store", "deploy", "jq", *flags, "--annotation", "why=test")
    assert ok(server, folder, "invoke", "names", stdin=b'{"name": "x"}') == b'"x"\n'
    [function] = [each for each in json.loads(ok(server, folder, "list", "-j")) if each["name"] == "names"]
    assert function["envProcess"] == "jq -c .name"
    assert function["envVars"]["mode"] == "streaming"
    assert function["labels"]["com.openfaas.ui.ext"] == "txt"
    assert function["annotations"]["why"] == "test"


def test_code_of_the_store_is_built_for_this_machine(server: Penstock, folder: Path) -> None:
    ok(server, folder, "store", "deploy", "nodeinfo")
    assert b"Arch: " in ok(server, folder, "invoke", "nodeinfo")
    assert b"Load: " in ok(server, folder, "invoke", "nodeinfo", stdin=b"verbose")
    again = run(server, folder, "store", "deploy", "nodeinfo", "--name", "twin")
    assert again.returncode == 0, again.stderr
    assert list(folder.iterdir()) == []


def test_a_missing_program_names_the_package(server: Penstock, folder: Path, workshop: Workshop) -> None:
    bare = workshop.file("bin")
    bare.mkdir(exist_ok=True)
    convert = bare / "convert"
    convert.write_text("#!/bin/sh\necho another program of that name\n")
    convert.chmod(0o755)
    shutil.copy("/bin/true", bare / "true")
    for name, package in (("jq", "jq"), ("ocr", "tesseract-ocr"), ("thumbnail", "imagemagick")):
        done = run(server, folder, "store", "deploy", name, "--name", "never", path=str(bare))
        assert done.returncode == 1
        assert f"not installed on this machine: apt-get install {package}\n" in done.stderr.decode()
    assert server.function("never") is None


def test_what_is_not_in_the_store_is_told_with_the_nearest(server: Penstock, folder: Path) -> None:
    done = run(server, folder, "store", "deploy", "figlt")
    assert done.returncode == 1
    assert b"did you mean figlet?" in done.stderr
    image = run(server, folder, "store", "deploy", "figlet", "--image", "some/figlet")
    assert image.returncode == 1
    assert b"runs programs, not images" in image.stderr
