"""The functions of the examples that stay, by themselves: how the Java one gets compiled, how the others take odd input."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import debian_path
from tests.integration.afterburn.conftest import LIBRARIES, found
from tests.integration.afterburn.talking import HANDSHAKE, Peer, chunked, request

JAVA = LIBRARIES / "java"
FEED = [str(JAVA / "run.sh"), "Feed", str(JAVA / "feed.xsl")]


@pytest.mark.service("javac")
def test_java_processes_that_start_at_once_compile_into_one_place_and_nowhere_else(tmp_path: Path) -> None:
    sources = sorted(JAVA.iterdir())
    peers = [Peer(["sh", *FEED], {"PATH": debian_path(), "TMPDIR": str(tmp_path)}) for _ in range(2)]
    try:
        assert [peer.ask(HANDSHAKE).status for peer in peers] == [200, 200]
        (place,) = tmp_path.iterdir()
        assert place.name.startswith("classes-") and place.stat().st_mode & 0o077 == 0
        assert sorted(JAVA.iterdir()) == sources
    finally:
        for peer in peers:
            peer.kill()


@pytest.mark.service("javac")
def test_java_sources_with_a_mistake_end_the_start_and_leave_nothing_behind(tmp_path: Path) -> None:
    code, temporary = tmp_path / "code", tmp_path / "tmp"
    code.mkdir()
    shutil.copy(JAVA / "run.sh", code)
    (code / "Wrong.java").write_text("class Wrong { int number = true; }")
    done = subprocess.run(
        ["sh", str(code / "run.sh"), "Wrong"],
        env={"PATH": debian_path(), "TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"incompatible types" in done.stderr
    assert list(temporary.iterdir()) == []


@pytest.mark.service("node")
def test_csv_is_read_the_same_in_pieces_of_one_byte() -> None:
    table = 'a,b\r\n"1,""x""","two\nlines"\r\n\xfc,\r\nlast'.encode()
    peer = Peer([found("node"), str(LIBRARIES / "node" / "csv.js")], {})
    try:
        answer = peer.ask(chunked("/", *(b"1\r\n%c\r\n" % byte for byte in table), b"0\r\n\r\n"))
        rows = [json.loads(line) for line in answer.body.splitlines()]
        assert rows == [{"a": '1,"x"', "b": "two\nlines"}, {"a": "\xfc", "b": ""}, {"a": "last", "b": ""}]
        assert peer.ask(request("POST", "/", table)).body == answer.body
        assert peer.ask(request("POST", "/", b"")).body == b""
    finally:
        peer.kill()


@pytest.mark.service("node")
def test_csv_with_an_open_quote_is_an_error_and_no_short_table() -> None:
    peer = Peer([found("node"), str(LIBRARIES / "node" / "csv.js")], {})
    try:
        peer.send(request("POST", "/", b'a\n1\n"2'))
        assert peer.head_and_first_chunk() == b'{"a":"1"}\n'
        assert peer.end() == (1, b"")
        assert "a quote that is not closed" in peer.log()
    finally:
        peer.kill()
