"""`penstock template pull` and `new` as processes: from a repository on disk, and interrupted while git waits."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.templates.conftest import ENVIRON, Repository

DEADLINE = 60.0


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine of its own, as far as these commands look at it."""
    (tmp_path / "temporary").mkdir()
    return {
        **ENVIRON,
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path / "temporary"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def penstock(here: Path, environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(
        command, cwd=here, env=environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=DEADLINE
    )


def test_pull_from_a_repository_named_or_not(repository: Repository, here: Path, environ: dict[str, str]) -> None:
    done = penstock(here, environ, "template", "pull", f"{repository.url}#main")
    assert (done.returncode, done.stdout) == (0, f"Wrote 2 templates from {repository.url}: ada@main, cobol@main\n")
    assert done.stderr == f"Pulling templates from {repository.url} at main\n"
    again = penstock(
        here, {**environ, "OPENFAAS_TEMPLATE_URL": "../repository"}, "template", "pull", "--overwrite=false"
    )
    assert (again.returncode, sorted(os.listdir(here / "template"))) == (0, ["ada", "ada@main", "cobol", "cobol@main"])
    taken = penstock(here, environ, "template", "pull", "--overwrite=false", repository.url)
    assert taken.returncode == 1
    assert "already and would be replaced: ada, cobol" in taken.stderr


def test_pull_what_a_stack_file_lists(repository: Repository, here: Path, environ: dict[str, str]) -> None:
    (here / "stack.yaml").write_text(
        f"configuration:\n  templates:\n    - name: cobol\n      source: {repository.url}#main\nfunctions:\n  a:\n    image: a\n"
    )
    done = penstock(here, environ, "template", "pull", "stack")
    assert (done.returncode, done.stdout) == (0, "Wrote 1 template from stack.yaml: cobol\n")


def test_new_brings_a_template_from_the_store(
    repository: Repository, here: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "store.json").write_text(json.dumps([{"template": "cobol", "source": repository.url}]))
    environ["OPENFAAS_TEMPLATE_STORE_URL"] = str(tmp_path / "store.json")
    done = penstock(here, environ, "new", "hello", "--lang", "cobol@main", "-q")
    assert (done.returncode, done.stderr) == (0, f"cobol@main: pulling from {repository.url}\n")
    assert (here / "hello/handler.sh").read_text() == "cat\n"
    assert os.listdir(here / "template") == ["cobol@main"]
    assert penstock(here, environ, "template", "store", "pull", "cobol").stdout.endswith(": ada, cobol\n")


ENDED = pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=lambda value: str(value),
)


@contextmanager
def pulling(here: Path, environ: dict[str, str], url: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "penstock", "template", "pull", url]
    process = subprocess.Popen(command, cwd=here, env=environ, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@ENDED
def test_an_interrupted_pull_leaves_neither_git_nor_folders(
    here: Path, environ: dict[str, str], number: signal.Signals, code: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        with pulling(here, environ, f"git://127.0.0.1:{silent.getsockname()[1]}/templates") as process:
            connection, _ = silent.accept()  # git has asked, and waits
            with connection:
                gits = psutil.Process(process.pid).children(recursive=True)
                assert gits
                process.send_signal(number)
                assert process.wait(DEADLINE) == code
                assert psutil.wait_procs(gits, DEADLINE)[1] == []
    assert os.listdir(environ["TMPDIR"]) == []
    assert os.listdir(here) == []


STUBBORN = """\
#!/bin/sh
trap '' INT TERM HUP
for folder; do :; done
mkdir -p "$folder/half"
sh -c "trap '' INT TERM HUP; exec sleep 1000" &
echo $$ $! > "$PIDS.new"
mv "$PIDS.new" "$PIDS"
wait
"""
"""A git that does not end when it is asked to, nor does its helper."""


@ENDED
def test_a_git_that_does_not_want_to_end_is_ended_with_its_helpers(
    here: Path, environ: dict[str, str], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(STUBBORN)
    (tmp_path / "bin/git").chmod(0o755)
    told = tmp_path / "pids"
    environ |= {"PATH": f"{tmp_path}/bin:{environ['PATH']}", "PIDS": str(told)}
    with pulling(here, environ, "https://example.invalid/templates") as process:
        deadline = time.monotonic() + DEADLINE
        while not told.exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        gits = [psutil.Process(int(pid)) for pid in told.read_text().split()]
        try:
            process.send_signal(number)
            assert process.wait(DEADLINE) == code
            assert psutil.wait_procs(gits, DEADLINE)[1] == []
        finally:
            for git in gits:
                with contextlib.suppress(psutil.NoSuchProcess):
                    git.kill()
    assert os.listdir(environ["TMPDIR"]) == []
    assert os.listdir(here) == []


def test_a_build_brings_the_templates_that_it_needs(
    repository: Repository, here: Path, environ: dict[str, str]
) -> None:
    (here / "stack.yaml").write_text(
        f"configuration:\n  templates:\n    - name: cobol\n      source: {repository.url}\n"
        "functions:\n  a:\n    lang: cobol\n    handler: ./a\n    image: a\n  b:\n    lang: fortran\n    handler: ./a\n    image: b\n"
    )
    (here / "a").mkdir()
    (here / "a/handler.sh").write_text("tac\n")
    (here / "empty.json").write_text("[]")
    done = penstock(here, {**environ, "OPENFAAS_TEMPLATE_STORE_URL": "empty.json"}, "build", "--shrinkwrap")
    assert done.returncode == 1
    assert f"cobol: pulling from {repository.url}\n" in done.stderr
    assert "template 'fortran' is not in the store" in done.stderr
    assert (here / "build/a/function/handler.sh").read_text() == "tac\n"
