"""From a template to an answer, and from a save to the next: `new`, `build`, `up`, `up --watch`, `local-run`, as a user types them."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import Workshop, descendants, wait_dead
from tests.e2e.serving import Penstock, serving, wait_until
from tests.integration.builders.wheels import wheel

STACK = """\
version: 1.0
provider:
  name: openfaas
functions:
"""


class Project:
    """A folder with a stack file, and the command line used in it."""

    def __init__(self, server: Penstock, folder: Path) -> None:
        self.server = server
        self.folder = folder
        folder.mkdir()
        self.environ = {
            **server.environ,
            "OPENFAAS_URL": server.base,
            "PENSTOCK_HOME": str(server.home),
            "HOME": str(folder.parent),
        }

    def stack(self, **functions: str) -> None:
        text = "".join(
            f"  {name}:\n{textwrap.indent(textwrap.dedent(body), '    ')}" for name, body in functions.items()
        )
        self._put(self.folder / "stack.yml", STACK + text)

    def python(self, name: str, answer: str) -> Path:
        """The handler of a function that answers with a word."""
        path = self.folder / name / "handler.py"
        path.parent.mkdir(exist_ok=True)
        self._put(path, f"def handle(event, context):\n    return {answer!r}\n")
        return path

    def _put(self, path: Path, text: str) -> None:
        """A file that whoever watches sees whole, and once."""
        aside = self.folder.parent / "aside"
        aside.write_text(text)
        aside.rename(path)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "penstock", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def ran(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    @contextlib.contextmanager
    def running(self, *arguments: str) -> Iterator[Running]:
        """A command that stays, for as long as the context lasts."""
        output = self.folder.parent / f"{arguments[0]}.out"
        with output.open("wb") as file:
            process = subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Running(process, output)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Running:
    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    def printed(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            matches = list(re.finditer(pattern, self.printed()))
            if len(matches) < count and self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}:\n{self.printed()}")
            return matches[count - 1] if len(matches) >= count else None

        try:
            match = wait_until(found, f"{pattern!r} in the output")
        except TimeoutError as error:
            raise TimeoutError(f"{error}:\n{self.printed()}") from None
        assert match is not None
        return match


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving() as running:
        yield running


@pytest.fixture
def project(server: Penstock, workshop: Workshop, request: pytest.FixtureRequest) -> Project:
    """Beside the server's home: what is in /tmp alone would be hidden from functions."""
    folder = workshop.directory / request.node.name.replace("[", "-").rstrip("]")
    folder.mkdir()
    return Project(server, folder / "project")


def answers(project: Project, name: str, word: str) -> None:
    def answer() -> bool:
        return project.server.invoke(name).body == word.encode()

    wait_until(answer, f"{word!r} from {name}")


def test_new_up_invoke_edit(project: Project) -> None:
    project.ran("new", "hello", "--lang", "python3-http")
    file = next(project.folder.glob("*.y*ml"))
    done = project.ran("up", "-f", file.name)
    assert "[1] > Building hello." in done.stderr
    assert "1 function is up at" in done.stderr and "1 built, 0 unchanged" in done.stderr
    assert project.server.invoke("hello", b"Ada").text == "Hello, Ada!\n"
    project.python("hello", "edited")
    project.ran("up", "-f", file.name)
    answers(project, "hello", "edited")


def test_what_has_not_changed_is_not_built_again(project: Project) -> None:
    project.python("same", "one")
    project.stack(same="lang: python3-http\nhandler: ./same\n", program="fprocess: cat\n")
    first = project.ran("up")
    assert "2 functions are up" in first.stderr and "1 built, 0 unchanged" in first.stderr
    [built] = json.loads(project.ran("build", "--output", "json").stdout)
    assert (built["name"], built["unchanged"]) == ("same", True)
    assert "0 built, 1 unchanged" in project.ran("up").stderr
    assert project.server.invoke("program", b"echo").body == b"echo"


def test_what_runs_as_it_is_wanted_keeps_its_replicas(project: Project) -> None:
    def replicas() -> set[str]:
        functions = [project.server.function(name) for name in ("kept", "program")]
        return {replica["id"] for function in functions if function for replica in function["instances"]}

    project.python("kept", "one")
    project.stack(
        kept="lang: python3-http\nhandler: ./kept\nlabels: {a: b}\nenvironment: {A: 1}\n", program="fprocess: cat\n"
    )
    project.ran("up")
    before = replicas()
    again = project.ran("up")
    assert again.stdout.count("Unchanged, left as it is.") == 2
    assert "0 built, 1 unchanged; 0 deployed, 2 left alone" in again.stderr
    assert replicas() == before and len(before) == 2
    forced = project.ran("up", "--force")
    assert "left alone" not in forced.stderr
    project.python("kept", "two")
    assert "1 built, 0 unchanged; 1 deployed, 1 left alone" in project.ran("up").stderr
    answers(project, "kept", "two")


def test_a_handler_that_is_missing_or_broken_is_deployed_nowhere(project: Project) -> None:
    for name, file in (("missing", "handlr.py"), ("broken", "handler.sh")):
        (project.folder / name).mkdir()
        (project.folder / name / file).write_text("if then\n")
    project.stack(missing="lang: python3-http\nhandler: ./missing\n", broken="lang: bash\nhandler: ./broken\n")
    done = project.run("up")
    assert done.returncode == 1
    assert "there is no handler.py in './missing'" in done.stderr and "is it 'handlr.py'?" in done.stderr
    assert "broken: ./broken/handler.sh cannot be compiled\n    handler.sh: line 1: syntax error" in done.stderr
    assert done.stderr.count("syntax error") == 1, "its words are said once"
    assert project.server.function("missing") is None and project.server.function("broken") is None


def test_packages_of_requirements_are_there(project: Project) -> None:
    project.python("packed", "").write_text("import tiny\n\ndef handle(event, context):\n    return tiny.WORD\n")
    wheel(project.folder / "packed/wheels", "tiny", "WORD = 'packed'\n")
    (project.folder / "packed/requirements.txt").write_text("./wheels/tiny-1.0-py3-none-any.whl\n")
    project.stack(packed="lang: python3-http\nhandler: ./packed\n")
    project.ran("up")
    assert project.server.invoke("packed").body == b"packed"


def test_deploy_takes_the_build_and_says_when_there_is_none(project: Project) -> None:
    project.python("later", "built")
    project.stack(later="lang: python3-http\nhandler: ./later\n")
    done = project.run("deploy", "-f", "stack.yml")
    assert done.returncode == 1
    assert "penstock up" in done.stderr
    project.ran("build")
    project.ran("deploy", "-f", "stack.yml")
    answers(project, "later", "built")


def test_broken_source_shows_the_compilers_words_and_the_others_go_on(project: Project) -> None:
    project.python("good", "good")
    project.python("bad", "bad").write_text("def handle(event, context)\n    return 1\n")
    project.stack(bad="lang: python3-http\nhandler: ./bad\n", good="lang: python3-http\nhandler: ./good\n")
    done = project.run("up")
    assert done.returncode == 1
    assert "bad: ./bad/handler.py cannot be compiled\n" in done.stderr
    assert '      File "./bad/handler.py", line 1\n' in done.stderr
    assert "SyntaxError: expected ':'" in done.stderr
    assert done.stderr.rstrip().endswith("Error: 1 of 2 functions failed (deployed: good; failed: bad)")
    answers(project, "good", "good")
    assert project.server.function("bad") is None


def test_missing_handlers_and_templates_are_named_with_their_line(project: Project) -> None:
    project.stack(lost="lang: python3-http\nhandler: ./nowhere\n", odd="lang: python3-http\nhandler: stack.yml\n")
    done = project.run("build")
    assert done.returncode == 1
    assert "stack.yml:5: function 'lost': handler: there is no folder './nowhere'" in done.stderr
    assert "stack.yml:8: function 'odd': handler: 'stack.yml' is a file" in done.stderr
    assert "2 of 2 builds failed: lost, odd" in done.stderr


def test_shrinkwrap_leaves_a_context(project: Project) -> None:
    project.python("wrapped", "w")
    project.stack(wrapped="lang: python3-http\nhandler: ./wrapped\n")
    assert project.ran("build", "--shrinkwrap").stdout == "wrapped shrink-wrapped to build/wrapped\n"
    assert (project.folder / "build/wrapped/Dockerfile").is_file()
    assert (project.folder / "build/wrapped/function/handler.py").is_file()


def test_watch_rolls_what_is_saved(project: Project) -> None:
    handler = project.python("live", "one")
    project.python("still", "still")
    project.stack(live="lang: python3-http\nhandler: ./live\n", still="lang: python3-http\nhandler: ./still\n")
    with project.running("up", "--watch") as watch:
        watch.wait_for("Watching live, still")
        answers(project, "live", "one")
        handler.write_text("def handle(event, context):\n    return 'two'\n")
        answers(project, "live", "two")
        watch.wait_for(r"live: up after")
        (handler.parent / ".handler.py.swp").write_text("x")
        handler.write_text("def handle(\n")
        watch.wait_for(r"SyntaxError")
        answers(project, "live", "two")
        aside = handler.with_suffix(".new")  # as editors save: another file takes the place
        aside.write_text("def handle(event, context):\n    return 'three'\n")
        aside.rename(handler)
        answers(project, "live", "three")
        assert watch.printed().count("> Building still.") == 1
        watch.wait_for(r"live: up after", 2)
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(60) == 130
        assert "Traceback" not in watch.printed()


def test_watch_follows_the_stack_file(project: Project) -> None:
    project.python("first", "first")
    project.stack(first="lang: python3-http\nhandler: ./first\n")
    with project.running("up", "--watch") as watch:
        watch.wait_for("Watching first;")
        (project.folder / "stack.yml").write_text("functions: [")
        watch.wait_for("Error: stack.yml")
        project.python("second", "second")
        project.stack(
            first="lang: python3-http\nhandler: ./first\nenvironment:\n  x: y\n",
            second="lang: python3-http\nhandler: ./second\n",
        )
        watch.wait_for("Watching first, second;")
        answers(project, "second", "second")
        project.python("second", "changed")
        answers(project, "second", "changed")


def test_watch_notices_files_of_variables_and_a_handler_that_comes_later(project: Project) -> None:
    answer = "import os\n\ndef handle(event, context):\n    return os.environ['who']\n"
    project.python("early", "").write_text(answer)
    (project.folder / "env.yml").write_text("environment:\n  who: file\n")
    project.stack(
        early="lang: python3-http\nhandler: ./early\nenvironment_file: [env.yml]\n",
        late="lang: python3-http\nhandler: ./late\n",
    )
    with project.running("up", "--watch") as watch:
        watch.wait_for("there is no folder './late'")
        watch.wait_for("Watching early, late;")
        answers(project, "early", "file")
        (project.folder / "env.yml").write_text("environment:\n  who: changed\n")
        answers(project, "early", "changed")
        aside = project.python("aside", "came")
        aside.parent.rename(project.folder / "late")
        answers(project, "late", "came")
        watch.wait_for("late: up after")
        project.python("late", "edited")
        answers(project, "late", "edited")


def test_a_deployed_build_stays_while_others_are_made(project: Project) -> None:
    project.python("kept", "deployed")
    project.stack(kept="lang: python3-http\nhandler: ./kept\n")
    project.ran("up")
    for number in range(5):
        project.python("kept", f"only built {number}")
        project.ran("build")
    project.ran("scale", "kept", "2")

    def two() -> bool:
        return int((project.server.function("kept") or {}).get("availableReplicas", 0)) == 2

    wait_until(two, "a second replica, which starts from the same build")
    answers(project, "kept", "deployed")


def test_deploy_finds_the_build_whatever_flags_it_had(project: Project) -> None:
    project.python("flagged", "flagged")
    (project.folder / "more.txt").write_text("copied")
    (project.folder / "flagged/handler.py").write_text(
        "from pathlib import Path\n\ndef handle(event, context):\n"
        "    return (Path(__file__).parent / 'more.txt').read_text()\n"
    )
    project.stack(flagged="lang: python3-http\nhandler: ./flagged\n")
    project.ran("build", "--copy-extra", "more.txt", "-b", "STAGE=test")
    project.ran("deploy", "-f", "stack.yml")
    answers(project, "flagged", "copied")
    (project.folder / "more.txt").write_text("changed")
    done = project.run("deploy", "-f", "stack.yml")
    assert done.returncode == 1
    assert "is not built yet, or has changed since" in done.stderr


@pytest.mark.parametrize("watch", [False, True], ids=["once", "watch"])
def test_local_run(project: Project, watch: bool) -> None:
    project.python("local", "one")
    (project.folder / ".secrets").mkdir()
    (project.folder / ".secrets/key").write_text("k")
    project.stack(local="lang: python3-http\nhandler: ./local\nenvironment:\n  who: stack\nsecrets:\n  - key\n")
    (project.folder / "local/handler.py").write_text(
        "import os\n\ndef handle(event, context):\n"
        "    with open(os.environ['PENSTOCK_SECRETS_DIR'] + '/key') as file:\n"
        "        return ' '.join([os.environ['who'], os.environ['OPENFAAS_NAME'], file.read()])\n"
    )
    flags = ["--watch"] if watch else []
    with project.running("local-run", "local", "--port", "0", "--env", "who=flag", *flags) as running:
        port = int(running.wait_for(r"port:? (\d+)\n")[1])
        assert call(port) == b"flag local k"
        if watch:
            project.python("local", "two")
            port = int(running.wait_for(r"port:? (\d+)\n", 2)[1])
            assert call(port) == b"two"
            project.stack(local="lang: python3-http\nhandler: ./local\nenvironment:\n  more: variables\n")
            port = int(running.wait_for(r"port:? (\d+)", 3)[1])
            assert call(port) == b"two"
        children = [child.pid for child in descendants(running.process.pid)]
        running.process.send_signal(signal.SIGINT if watch else signal.SIGTERM)
        running.process.wait(60)
        wait_dead(*children)


def test_local_run_prints_its_command_and_names_what_is_missing(project: Project) -> None:
    project.python("local", "one")
    project.stack(local="lang: python3-http\nhandler: ./local\nsecrets: [token]\n", other="fprocess: cat\n")
    assert "wants the secret token" in project.run("local-run", "local").stderr
    assert "Name one: local, other" in project.run("local-run").stderr
    printed = project.ran("local-run", "other", "--print", "--port", "9000").stdout
    assert "fprocess=cat" in printed and "port=9000" in printed and printed.rstrip().endswith("-m penstock watchdog")


def call(port: int) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("POST", "/", b"")
        return connection.getresponse().read()
    finally:
        connection.close()
