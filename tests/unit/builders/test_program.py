"""Programs of a build: heard while they run, judged by how they end, and never left behind."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.builders.program import KEPT, Programs
from penstock.errors import BuildFailed, NotSupported

DEADLINE = 60.0


def python(source: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", source, *arguments]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited for {what}"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_lines_are_heard_as_they_come_and_the_last_words_are_kept() -> None:
    heard: list[str] = []
    source = (
        "import sys; print('one', flush=True); print('two', file=sys.stderr, flush=True); print('10%\\r20%', end='')"
    )
    words = Programs().run(python(source), hear=heard.append)
    assert heard == ["one", "two", "10%", "20%"]
    assert words == "one\ntwo\n10%\r20%"


def test_a_line_is_heard_before_the_program_ends(tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)

    def hear(line: str) -> None:
        if line == "waiting":
            go.write_text("on")  # without this the program would never end

    words = Programs().run(python(f"print('waiting', flush=True); open({str(go)!r}).read(); print('done')"), hear=hear)
    assert words.endswith("done\n")


def test_a_bad_end_carries_the_programs_words() -> None:
    with pytest.raises(BuildFailed, match="ended with exit code 3") as caught:
        Programs().run(python("print('error: no such thing'); raise SystemExit(3)"))
    assert caught.value.words == "error: no such thing\n"


def test_an_end_by_a_signal_is_named() -> None:
    with pytest.raises(BuildFailed, match="signal 9"):
        Programs().run(python("import os; os.kill(os.getpid(), 9)"))


def test_only_the_end_of_much_output_is_kept() -> None:
    words = Programs().run(python("print('x' * 5_000_000); print('the end')"))
    assert len(words) == KEPT
    assert words.endswith("the end\n")


def test_bytes_that_are_no_text_are_shown_somehow() -> None:
    heard: list[str] = []
    Programs().run(python("import os; os.write(1, b'a\\xffb\\n')"), hear=heard.append)
    assert heard == ["a\ufffdb"]


def test_a_missing_program_is_named() -> None:
    with pytest.raises(NotSupported, match="'no-such-compiler' is not installed"):
        Programs().run(["no-such-compiler", "x"])


def test_it_reads_nothing_from_our_stdin() -> None:
    assert Programs().run(python("import sys; print(repr(sys.stdin.read()))")) == "''\n"


@pytest.mark.parametrize("told", (True, False))
def test_the_keys_of_the_object_store_are_not_for_it(monkeypatch: pytest.MonkeyPatch, told: bool) -> None:
    names = ("PENSTOCK_S3_ACCESS_KEY", "PENSTOCK_S3_SECRET_KEY", "AWS_SECRET_ACCESS_KEY")
    environ = {**os.environ, **dict.fromkeys(names, "key")}
    for name in names:
        monkeypatch.setenv(name, "key")
    words = Programs().run(
        python(f"import os; print([name for name in {names!r} if name in os.environ])"),
        environ=environ if told else None,
    )
    assert words.strip() == "['AWS_SECRET_ACCESS_KEY']"  # an engine's credential helpers may need it


def test_it_runs_where_it_is_told_with_the_environment_it_is_told(tmp_path: Path) -> None:
    words = Programs().run(
        python("import os; print(os.getcwd(), os.environ['A'])"), directory=tmp_path, environ={"A": "b"}
    )
    assert words == f"{tmp_path} b\n"


STAYS = """
import os, sys, time
if os.fork() == 0:
    if sys.argv[1] == 'escape':
        os.setsid()
    print(os.getpid(), flush=True)
    while True:
        time.sleep(600)
if sys.argv[2] == 'wait':
    time.sleep(600)
open(sys.argv[2]).read()
"""
"""A program with a child; the child holds the output open and may have left the session."""


@pytest.mark.parametrize("how", ["stay", "escape"])
def test_cancel_ends_grandchildren_too(how: str) -> None:
    programs, pids = Programs(), list[int]()
    failures: list[BaseException] = []

    def build() -> None:
        try:
            programs.run(python(STAYS, how, "wait"), hear=lambda line: pids.append(int(line)))
        except BuildFailed as error:
            failures.append(error)

    thread = threading.Thread(target=build)
    thread.start()
    wait_until(lambda: bool(pids), "the grandchild")
    programs.cancel()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    wait_until(lambda: gone(pids[0]), "the end of the grandchild")
    assert str(failures[0]) == "the build was cancelled"


def test_cancel_kills_what_does_not_listen() -> None:
    programs, heard = Programs(), list[str]()
    source = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )

    def build() -> None:
        with pytest.raises(BuildFailed):
            programs.run(python(source), hear=heard.append)

    thread = threading.Thread(target=build)
    thread.start()
    wait_until(lambda: heard == ["deaf"], "the program")
    programs.cancel()
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_nothing_starts_after_cancel(tmp_path: Path) -> None:
    programs = Programs()
    programs.cancel()
    with pytest.raises(BuildFailed, match="cancelled"):
        programs.run(python(f"open({str(tmp_path / 'made')!r}, 'w')"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("how", ["stay", "escape"])
def test_what_a_program_leaves_behind_is_not_waited_for_but_killed(how: str, tmp_path: Path) -> None:
    pids: list[int] = []
    go = tmp_path / "go"
    os.mkfifo(go)

    def hear(line: str) -> None:
        pids.append(int(line))
        go.write_text("the child has been heard, its parent may end")

    Programs().run(python(STAYS, how, str(go)), hear=hear)
    wait_until(lambda: gone(pids[0]), "the end of the child")
