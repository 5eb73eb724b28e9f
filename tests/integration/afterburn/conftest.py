"""Starts the peers: one program in each language, on the library of the examples, doing the same under the same paths."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.examples import examples_directory
from tests.conftest import debian_path
from tests.integration.afterburn.talking import HANDSHAKE, Peer

HERE = Path(__file__).parent / "peers"
LIBRARIES = examples_directory() / "afterburn"

JAVA_FLAGS = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto"]

Start = Callable[[], Peer]


def found(program: str) -> str:
    path = shutil.which(program, path=debian_path())
    assert path is not None
    return path


@pytest.fixture(scope="session")
def java_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("classes")
    sources = [str(LIBRARIES / "java" / "Afterburn.java"), str(HERE / "Peer.java")]
    command = [
        found("javac"),
        "-XDignore.symbol.file",
        "-Xlint:all,-options",
        "-Werror",
        "-source",
        "11",
        "-target",
        "11",
    ]
    subprocess.run([*command, "-d", str(directory), *sources], check=True, timeout=120)
    return directory


@pytest.fixture(
    scope="module",
    params=[
        "python",
        pytest.param("java", marks=pytest.mark.service("javac")),
        pytest.param("node", marks=pytest.mark.service("node")),
    ],
)
def language(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def start(language: str, request: pytest.FixtureRequest) -> Start:
    """Starts a peer in the language of the test."""
    if language == "python":
        command, environ = [sys.executable, str(HERE / "peer.py")], {"PYTHONPATH": str(LIBRARIES / "python")}
    elif language == "node":
        command, environ = [found("node"), str(HERE / "peer.js")], {"NODE_PATH": str(LIBRARIES / "node")}
    else:
        classes = request.getfixturevalue("java_classes")
        command, environ = [found("java"), *JAVA_FLAGS, "-cp", str(classes), "Peer"], {}
    return lambda: Peer(command, {"PATH": os.environ["PATH"], **environ})


@pytest.fixture(scope="module")
def spare(start: Start) -> Iterator[list[Peer]]:
    """The process that the next test gets, started while this one runs, since a virtual machine's start takes its time."""
    peers = [start()]
    yield peers
    for peer in peers:
        peer.kill()


@pytest.fixture
def fresh(start: Start, spare: list[Peer]) -> Iterator[Peer]:
    """A process of the test's own, shaken hands with."""
    peer = spare.pop()
    spare.append(start())
    try:
        assert peer.ask(HANDSHAKE).status == 200
        yield peer
    finally:
        peer.kill()


@pytest.fixture(scope="module")
def shared_peers(start: Start) -> Iterator[list[Peer]]:
    peers: list[Peer] = []
    yield peers
    for peer in peers:
        peer.kill()


@pytest.fixture
def peer(start: Start, shared_peers: list[Peer]) -> Peer:
    """A process that the tests share which leave it alive; another when one did not."""
    if not shared_peers or shared_peers[-1].process.poll() is not None:
        shared_peers.append(start())
        assert shared_peers[-1].ask(HANDSHAKE).status == 200
    return shared_peers[-1]
