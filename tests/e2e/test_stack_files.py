"""A stack file on a running gateway, as a user types it: deploy, call, list, compare, remove, and choose among its functions."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving, wait_until

STACK = """\
version: 1.0
provider:
  name: openfaas
  gateway: ${GATEWAY}
functions:
  copy:
    fprocess: cat
    labels: {team: "${TEAM:-red}"}
  count:
    fprocess: wc -w
    environment: {mode: serializing}
    environment_file: [more.yml]
  greet:
    handler: ./greet/handler.py
    environment: {GREETING: hello}
"""

HANDLER = """
import os

def handle(event, context):
    return os.environ["GREETING"] + " " + event.body.decode()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving() as running:
        yield running


@pytest.fixture
def project(workshop: Workshop) -> Path:
    """A folder with a stack file, a handler and a file of variables."""
    folder = workshop.file("project")
    (folder / "greet").mkdir(parents=True, exist_ok=True)
    (folder / "stack.yml").write_text(STACK)
    (folder / "greet" / "handler.py").write_text(HANDLER)
    (folder / "more.yml").write_text("environment:\n  write_debug: true\n")
    return folder


def run(server: Penstock, project: Path, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The command line in the project's folder. The gateway is known from the stack file alone, where a verb reads it."""
    variables = {"GATEWAY": server.base, "PENSTOCK_HOME": str(server.home)}
    return server.cli(*arguments, stdin=stdin, folder=project, **variables)


def ok(server: Penstock, project: Path, *arguments: str, stdin: bytes = b"") -> str:
    done = run(server, project, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def deployed(server: Penstock, project: Path) -> set[str]:
    return {function["name"] for function in json.loads(ok(server, project, "list", "--json"))}


def test_three_functions_live_their_life_by_their_file(server: Penstock, project: Path) -> None:
    printed = ok(server, project, "deploy", "-f", "stack.yml")
    assert printed.count("Deployed. ") == 3
    assert ok(server, project, "invoke", "copy", stdin=b"words") == "words"
    assert ok(server, project, "invoke", "count", stdin=b"one two three").strip() == "3"
    assert ok(server, project, "invoke", "greet", stdin=b"world") == "hello world"
    assert deployed(server, project) == {"copy", "count", "greet"}
    assert "no differences found" in ok(server, project, "diff")
    ok(server, project, "ready", "greet")

    (project / "stack.yml").write_text(STACK.replace("wc -w", "wc -c"))
    changed = run(server, project, "diff")
    assert changed.returncode == 1
    assert b"wc -c" in changed.stdout and b"1 of 3 functions differ: count" in changed.stderr
    ok(server, project, "deploy", "--filter", "co*t")
    wait_until(lambda: ok(server, project, "invoke", "count", stdin=b"four").strip() == "4", "the update", 60.0)
    assert "no differences found" in ok(server, project, "diff")

    ok(server, project, "remove", "--regex", "^c")
    wait_until(lambda: deployed(server, project) == {"greet"}, "the end of two", 60.0)
    printed = ok(server, project, "rm")
    assert "Deleting: greet" in printed
    wait_until(lambda: deployed(server, project) == set(), "the end of the last", 60.0)


def test_one_of_five_fails_and_four_are_deployed(server: Penstock, project: Path) -> None:
    good = "".join(f"  good-{number}: {{fprocess: cat}}\n" for number in range(4))
    (project / "broken.py").write_text("import nothing_of_this_name\n")
    (project / "five.yml").write_text(f"functions:\n  bad: {{handler: broken.py}}\n{good}")
    done = run(server, project, "deploy", "-f", "five.yml")
    assert done.returncode == 1
    assert b"nothing_of_this_name" in done.stderr, "the handler's own words"
    assert b"1 of 5 functions failed" in done.stderr and b"failed: bad" in done.stderr
    for number in range(4):
        assert ok(server, project, "invoke", f"good-{number}", stdin=b"fine") == "fine"
    ok(server, project, "remove", "-f", "five.yml")
    wait_until(lambda: deployed(server, project) == set(), "their end", 60.0)


def test_hostile_files_are_refused_in_one_line_and_nothing_is_deployed(server: Penstock, project: Path) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
    )
    mark = project / "mark"
    files = {
        "laughs.yml": laughs + "functions: {x: {fprocess: cat}}\n",
        "cycle.yml": "functions: &f\n  x: *f\n",
        "object.yml": f"functions:\n  x: !!python/object/apply:os.mkdir [{mark}]\n",
        "twice.yml": "functions:\n  x: {fprocess: cat}\n  x: {fprocess: wc}\n",
        "deep.yml": "functions: {x: {fprocess: '" + "${U:-" * 5000 + "}" * 5000 + "'}}\n",
        "name.yml": "functions:\n  ../x: {fprocess: cat}\n",
        "binary.yml": "functions: {x: {fprocess: '\x00'}}\n",
    }
    for name, text in files.items():
        (project / name).write_text(text)
        done = run(server, project, "deploy", "-f", name)
        assert done.returncode == 2, (name, done.stderr)
        assert done.stderr.decode().startswith(f"Error: {name}:"), done.stderr
        assert b"Traceback" not in done.stderr and done.stderr.count(b"\n") == 1
    assert not os.path.exists(mark)
    assert "x" not in deployed(server, project)
