"""Each shipped template that runs without a container: begun, built, deployed and called on `penstock serve`, by the command line.

One stack file has a function of every template as it is shipped, and one of every language whose handler fails; one `penstock up`
builds all of them at once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.templates.catalogue import shipped
from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving, wait_until

DEADLINE = 900.0
"""Seconds for one command; the first use of a compiler takes minutes on a busy machine."""

TEMPLATES = sorted(template.name for template in shipped() if template.native is not None)

GREETINGS = {
    "bash": (b"Ada\nGrace\n", b"Hello, Ada!\nHello, Grace!\n"),
    "cli": (b"one two three\n", b"3\n"),
    "python3": ("Zoë\n".encode(), "Hello, Zoë!\n".encode()),
}
"""What is sent, and what comes back; the others greet whom the body names."""

WEB = ("go", "node", "python3-http")
"""Templates whose example reads the query too."""

FAILING = {
    "bash": ("handler.sh", "echo no luck >&2; exit 3\n"),
    "go": (
        "handler.go",
        'package function\n\nimport "net/http"\n\n'
        'func Handle(w http.ResponseWriter, r *http.Request) {\n\tpanic("no luck")\n}\n',
    ),
    "java": (
        "Handler.java",
        "public final class Handler implements Afterburn.Handler {\n"
        "    public Afterburn.Response handle(Afterburn.Request request) {\n"
        '        throw new IllegalStateException("no luck");\n    }\n}\n',
    ),
    "node": ("handler.js", "module.exports = async () => {\n  throw new Error('no luck');\n};\n"),
    "php": (
        "handler.php",
        "<?php\nfunction handle(string $request): string\n{\n    throw new Exception('no luck');\n}\n",
    ),
    "python3": ("handler.py", "def handle(req):\n    raise RuntimeError('no luck')\n"),
    "python3-http": ("handler.py", "def handle(event, context):\n    raise RuntimeError('no luck')\n"),
    "ruby": ("handler.rb", "class Handler\n  def run(body, headers)\n    raise 'no luck'\n  end\nend\n"),
}
"""For each language the file of the handler, and one that fails at every call."""


@dataclass(frozen=True)
class Project:
    """A folder with a stack file, whose functions are up."""

    server: Penstock
    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {**self.server.environ, "PENSTOCK_URL": self.server.base, "PENSTOCK_HOME": str(self.server.home)}
        return subprocess.run(
            [sys.executable, "-m", "penstock", *arguments],
            cwd=self.folder,
            env={**environ, "HOME": str(self.server.home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=DEADLINE,
            check=False,
        )

    def ok(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.run(*arguments)
        assert done.returncode == 0, f"penstock {' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="module")
def project(workshop: Workshop) -> Iterator[Project]:
    with serving() as server:
        made = Project(server, workshop.file("project"))
        made.folder.mkdir()
        for name in TEMPLATES:
            append = () if name == TEMPLATES[0] else ("--append", "stack.yaml")
            made.ok("new", name, "--lang", name, "--quiet", *append)
        with (made.folder / "stack.yaml").open("a") as stack:
            for name, (file, source) in FAILING.items():
                handler = made.folder / f"{name}-failing"
                handler.mkdir()
                (handler / file).write_text(source)
                stack.write(f"  {name}-failing: {{lang: {name}, handler: ./{name}-failing}}\n")
        made.ok("up", "--parallel", "4")
        yield made


pytestmark = pytest.mark.service("go", "javac", "node", "php", "ruby")


@pytest.mark.parametrize("name", TEMPLATES)
def test_template_is_called_as_it_is_shipped(project: Project, name: str) -> None:
    if name == "static":
        front = project.server.request("GET", f"/function/{name}/")
        assert front.status == 200 and "<p>Hello, world!</p>" in front.text
        assert front.headers["content-type"].startswith("text/html")
        assert project.server.request("GET", f"/function/{name}/nowhere").status == 404
        return
    sent, wanted = GREETINGS.get(name, ("Zoë\n".encode(), "Hello, Zoë!\n".encode()))
    answer = project.server.invoke(name, sent)
    assert (answer.status, answer.body) == (200, wanted)
    if name != "cli":
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("name", WEB)
def test_template_for_the_web_is_told_the_query(project: Project, name: str) -> None:
    answer = project.server.request("GET", f"/function/{name}?name=Grace")
    assert (answer.status, answer.text) == (200, "Hello, Grace!\n")


@pytest.mark.parametrize("name", sorted(FAILING))
def test_failure_of_a_handler_is_500_and_in_the_log(project: Project, name: str) -> None:
    answer = project.server.invoke(f"{name}-failing", b"Ada")
    assert answer.status == 500, answer.text

    def logged() -> bool:
        return "no luck" in project.ok("logs", f"{name}-failing", "--no-tail").stdout

    wait_until(logged, "the reason in the log", 60.0)
    again = project.server.invoke(f"{name}-failing", b"Ada")
    assert again.status == 500, "the function does not outlive a failure of its handler"


def test_unchanged_functions_are_not_built_again(project: Project) -> None:
    done = project.ok("up")
    assert f"0 built, {len(TEMPLATES) + len(FAILING)} unchanged" in done.stderr
    listed = json.loads(project.ok("build", "--output", "json").stdout)
    assert {each["name"] for each in listed if each["unchanged"]} >= set(TEMPLATES)


def test_changed_source_is_built_and_rolled_out(project: Project) -> None:
    page = project.folder / "static" / "index.html"
    page.write_text(page.read_text().replace("Hello, world!", "Hello again!"))
    done = project.ok("up", "--filter", "static")
    assert "1 built, 0 unchanged" in done.stderr
    wait_until(lambda: "Hello again!" in project.server.request("GET", "/function/static/").text, "the new page", 60.0)
