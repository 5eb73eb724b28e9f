"""Rules of the source tree that neither the linter nor the import contracts can state."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import penstock

SOURCE = Path(penstock.__file__).parent

OPENERS = {
    "create_server",
    "create_unix_server",
    "create_connection",
    "create_unix_connection",
    "create_datagram_endpoint",
    "start_server",
    "start_unix_server",
    "open_connection",
    "open_unix_connection",
    "socket",
    "socketpair",
}
"""Names of the calls by which a program gets a socket."""
NAMED = re.compile(rf"\b({'|'.join(sorted(OPENERS))})\b")

ALLOWED = (
    "wire/",  # the data plane
    "cli/plainhttp.py",  # verbs that must answer sooner than an HTTP library is imported
    "watchdog/",  # its port, its program's port and readiness
    "control/feed.py",
    "control/link.py",
    "control/process.py",
    "control/sockets.py",
    "gateway/feed.py",
    "gateway/process.py",
    "readiness.py",
    "providers/containers/network.py",  # binds an address, to see whether it is one of this machine's
    "providers/runtimes/",
    "supervisor.py",  # a free port, once, before its children bind it
)
"""Rooms that may open sockets: `wire` for requests; the others for private unix sockets between Penstock's own processes."""


SHIPPED = SOURCE / "templates" / "shipped"
"""Functions that people begin with: data, not modules of ours."""


def sources() -> list[Path]:
    return sorted(path for path in SOURCE.rglob("*.py") if SHIPPED not in path.parents)


def opened_sockets(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in OPENERS:
                yield node.lineno, name


def calls_of(text: str) -> Iterator[tuple[int, str]]:
    """The same of a module's text; most have none of these names, and need not be parsed."""
    if NAMED.search(text):
        yield from opened_sockets(ast.parse(text))


def says_something(text: str) -> bool:
    """Whether a module that is not empty begins with its docstring."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return next(token.type for token in tokens if token.type not in (tokenize.COMMENT, tokenize.NL)) == tokenize.STRING


def test_only_the_rooms_that_need_to_open_sockets() -> None:
    strangers = [
        f"{path.relative_to(SOURCE)}:{line} calls {name}"
        for path in sources()
        if not path.relative_to(SOURCE).as_posix().startswith(ALLOWED)
        for line, name in calls_of(path.read_text())
    ]
    assert strangers == []


@pytest.mark.parametrize(
    "call", ["asyncio.open_connection('a', 1)", "loop.create_server(f)", "socket.socket()", "socket()"]
)
def test_the_check_above_sees_every_way_to_open_a_socket(call: str) -> None:
    assert list(calls_of(call))


def test_every_module_says_what_it_is_for() -> None:
    texts = {str(path.relative_to(SOURCE)): path.read_text() for path in sources()}
    assert [name for name, text in texts.items() if text.strip() and not says_something(text)] == []


@pytest.mark.parametrize("text", ["import os\n", "# a comment\n\nimport os\n", 'class A:\n    """Of the class."""\n'])
def test_the_check_above_sees_a_module_without_a_docstring(text: str) -> None:
    assert not says_something(text)
