"""Stack files that are none: folders, pipes, devices; and those that come by stdin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.errors import InvalidInput, NotFound, TooLarge
from penstock.stack.document import MAX_BYTES
from penstock.stack.fetch import is_stream, read


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)


def test_a_pipe_that_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(InvalidInput, match=r"^s\.yml: is a named pipe, not a file; .* with -f -$"):
        read(tmp_path / "fifo", "s.yml")


@pytest.mark.parametrize(
    ("path", "words"), [("/dev/null", "is a device"), ("/dev/zero", "is a device"), ("/", "is a folder")]
)
def test_what_is_no_file_says_so(path: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=f"^{path}: {words}, not a file"):
        read(path, path)


def test_links_are_followed_and_what_is_not_there_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    assert read(tmp_path / "link", "link") == b"text"
    (tmp_path / "file").unlink()
    with pytest.raises(NotFound, match="link: there is no such file"):
        read(tmp_path / "link", "link")


@pytest.mark.parametrize("form", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_what_a_shell_holds_open_is_read_to_its_end(pipe: tuple[int, int], form: str) -> None:
    reading, writing = pipe
    os.write(writing, b"text")
    os.close(writing)
    assert read(form.format(reading), "x") == b"text"


def test_a_pipe_that_never_ends_is_too_large(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with (tmp_path / "file").open("rb") as file, pytest.raises(TooLarge):
        read(f"/dev/fd/{file.fileno()}", "x")


@pytest.mark.parametrize("source", ["-", "/dev/stdin"])
def test_stdin(source: str) -> None:
    text = "import sys; from penstock.stack.fetch import read; print(read(sys.argv[1], 'x'))"
    done = subprocess.run(
        [sys.executable, "-c", text, source], input=b"functions: {}", capture_output=True, check=True, timeout=120
    )
    assert done.stdout == b"b'functions: {}'\n"


def test_what_can_be_read_once_only() -> None:
    assert all(map(is_stream, ["-", "/dev/stdin", "/dev/fd/63", "/proc/self/fd/0"]))
    assert not any(map(is_stream, ["stack.yml", "./-", "/dev/fd/", "/dev/fd/x", "/dev/fd/../x", "http://x/-"]))
