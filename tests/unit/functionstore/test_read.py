"""Our own store holds together; stores from files and URLs are read, and what is none is refused by name."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from penstock.core.names import check_function_name
from penstock.errors import InvalidInput, NotFound, PenstockError
from penstock.functionstore import read
from penstock.functionstore.read import SOURCES, parse_store, read_store
from penstock.watchdog.settings import MODES

ENTRY = {"name": "figlet", "title": "Figlet", "fprocess": "figlet", "images": {"x86_64": "some/figlet:1"}}


def test_our_own_store_is_the_default() -> None:
    names = [function.name for function in read_store("", {}).functions]
    assert len(names) == len(set(names)) >= 20
    assert {"figlet", "nodeinfo", "shasum", "wc", "jq", "thumbnail", "ocr", "markdown", "qrcode", "sentiment"} <= set(
        names
    )


def test_each_of_our_own_says_what_it_runs_and_what_brings_it() -> None:
    for function in read_store("", {}).functions:
        check_function_name(function.name)
        assert function.title and function.description and not function.description.endswith(".")
        assert bool(function.fprocess) != bool(function.source), function.name
        assert bool(function.packages) != bool(function.source), function.name
        assert function.source is not None or function.environment["mode"] in MODES


def test_the_sources_of_our_own_are_there() -> None:
    named = {function.source.handler for function in read_store("", {}).functions if function.source}
    assert named == {folder.name for folder in SOURCES.iterdir()}
    assert all((SOURCES / name / "handler.py").is_file() for name in named)


def test_the_environment_names_another_store_and_the_flag_wins(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"version": "0.2.1", "functions": [ENTRY]}))
    (tmp_path / "b.json").write_text(json.dumps({"functions": [{**ENTRY, "name": "other"}]}))
    environ = {"OPENFAAS_STORE": str(tmp_path / "a.json")}
    assert read_store("", environ).functions[0].name == "figlet"
    assert read_store(str(tmp_path / "b.json"), environ).functions[0].name == "other"


def test_a_bare_list_is_version_1() -> None:
    store = parse_store(json.dumps([{"name": "a", "image": "some/a:1", "network": "x"}]).encode(), "old")
    assert store.functions[0].images == {"x86_64": "some/a:1"}


def test_null_means_not_given() -> None:
    store = parse_store(json.dumps({"functions": [{**ENTRY, "labels": None, "icon": None}]}).encode(), "s")
    assert store.functions[0].labels == {}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"7",
        b"null",
        b"[7]",
        b"{}",
        b'{"functions": {}}',
        b'{"functions": [{"title": "no name"}]}',
        b'{"functions": [{"name": 7}]}',
        b'{"functions": [{"name": "a", "labels": {"k": 1}}]}',
        b'{"functions": [{"name": "../a"}]}',
        b'{"functions": [{"name": "a\\u001b[2J"}]}',
        b'{"functions": [{"name": "a", "source": {"lang": "x", "handler": "../.."}}]}',
        b"[" * 100_000,
    ],
    ids=range(15),
)
def test_what_is_no_store_is_refused_by_its_place(data: bytes) -> None:
    with pytest.raises(InvalidInput, match=r"^place: "):
        parse_store(data, "place")


def test_what_would_steer_a_terminal_is_not_kept() -> None:
    text = "\x1b[31mred\x9b2J\u202e"
    entry = {"name": "a", "title": text, "description": text, "author": text, "repo_url": text, "images": {text: "b"}}
    [function] = parse_store(json.dumps({"functions": [entry]}).encode(), "x").functions
    clean = "\ufffd[31mred\ufffd2J\ufffd"
    assert [function.title, function.description, function.author, function.repo_url] == [clean] * 4
    assert function.images == {clean: "b"}


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(NotFound, match=r"nowhere\.json"):
        read_store("nowhere.json", {})


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(PenstockError, match="directory"):
        read_store(str(tmp_path), {})


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_BYTES", 10)
    (tmp_path / "big").write_bytes(b" " * 11)
    with pytest.raises(InvalidInput, match="larger"):
        read_store(str(tmp_path / "big"), {})


@pytest.fixture
def site() -> Iterator[str]:
    """A server that has a store at /store.json and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/store.json"
            body = json.dumps({"functions": [ENTRY]}).encode() if found else b""
            self.send_response(200 if found else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_store_from_a_url(site: str) -> None:
    assert read_store(f"{site}/store.json", {}).functions[0].name == "figlet"


def test_a_url_that_answers_otherwise(site: str) -> None:
    with pytest.raises(PenstockError, match="answered 404"):
        read_store(f"{site}/other", {})


def test_a_url_that_does_not_answer() -> None:
    with pytest.raises(PenstockError, match="cannot be had"):
        read_store("http://127.0.0.1:1/store.json", {})
