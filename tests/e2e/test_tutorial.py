"""Each page of docs/tutorial, typed from top to bottom against a real `penstock serve`: it prints what the page says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.programs import Workshop
from tests.e2e.serving import Penstock, serving
from tests.e2e.transcripts import PAGES_GATEWAY, Played, Step, faults, matches, play, read

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial"
PAGES = sorted(page.stem for page in TUTORIAL.glob("*.md"))


@pytest.fixture(scope="module")
def server() -> Iterator[Penstock]:
    with serving() as running:
        yield running


@pytest.mark.service("curl", "node")
@pytest.mark.parametrize("name", PAGES)
def test_page_prints_what_it_says(server: Penstock, workshop: Workshop, name: str) -> None:
    steps = read((TUTORIAL / f"{name}.md").read_text(encoding="utf-8"))
    assert steps, f"{name}.md has no console block"
    folder = workshop.file(name)
    folder.mkdir()
    environ = {
        **server.environ,
        "PENSTOCK_URL": server.base,
        "PENSTOCK_HOME": str(server.home),
        "HOME": str(server.home),
        "LC_ALL": "C.UTF-8",
    }
    gateway = server.base.removeprefix("http://")
    found = faults(steps, play(steps, folder, environ, gateway), gateway)
    assert not found, f"docs/tutorial/{name}.md\n" + "\n\n".join(found)


def played(text: str, folder: Path) -> tuple[list[Step], list[Played]]:
    """The steps of one console block, and what became of them without a server."""
    steps = read(f"Text.\n```console\n{text}```\n")
    return steps, play(steps, folder, {"PATH": "/usr/bin:/bin"}, PAGES_GATEWAY)


def test_session_keeps_folder_variables_and_exit_codes(tmp_path: Path) -> None:
    steps, results = played(
        "$ mkdir below && cd below\n$ word=one\n$ echo $word \\\n  two\none two\n$ basename $PWD\nbelow\n"
        "$ false\n$ echo $?\n1\n$ for each in a b; do\n>   echo $each\n> done\na\nb\n",
        tmp_path,
    )
    assert faults(steps, results, PAGES_GATEWAY) == []
    assert [step.line for step in steps] == [3, 4, 5, 8, 10, 11, 13]


def test_log_is_asked_again_until_it_has_what_the_page_says(tmp_path: Path) -> None:
    steps, results = played(
        "$ penstock() { echo x >> tries; [ $(wc -l < tries) -lt 3 ] || echo a line; }\n"
        "$ penstock logs f --no-tail | tail -n 1\na line\n$ penstock logs f\na line\n",
        tmp_path,
    )
    assert faults(steps, results, PAGES_GATEWAY) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("$ echo one\ntwo\n", "--- printed\none"),
        ("$ echo one\n", "--- printed\none"),
        ("$ true\none\n", "--- the page\none"),
        ("$ false\n", "ended with 1"),
        ("$ sh -c 'exit 3'\n$ echo $?\n4\n", "--- printed\n3"),
        ("$ no-such-program\n", "ended with 127"),
        ("$ exit 0\n$ echo after\nafter\n", "`exit 0` ended the session"),
    ],
    ids=["other", "unsaid", "silent", "failed", "code", "missing", "ended"],
)
def test_page_that_is_wrong_is_found_out(text: str, fault: str, tmp_path: Path) -> None:
    steps, results = played(text, tmp_path)
    assert fault in "\n".join(faults(steps, results, PAGES_GATEWAY))


@pytest.mark.parametrize(
    ("page", "output", "same"),
    [
        (["done in 0.05s"], "done in 12.3s\n", True),
        (["done in 0.05s"], "done in time\n", False),
        (["at 2026-01-31T12:00:00Z it"], "at 2027-11-28T22:40:32.188026Z it\n", True),
        (["id 88f54b75-d2bf-401a-91fe-a83422950936"], "id 00000000-d2bf-401a-91fe-a83422950930\n", True),
        (["a   b"], "  a\tb \n\n", True),
        (["ab"], "a b\n", False),
        (["a … c", "d"], "a b c\nd\n", True),
        (["a", "...", "d"], "a\nb\nc\nd\n", True),
        (["a", "…", "d"], "a\nd\n", True),
        (["a", "…", "d"], "a\nb\n", False),
        (["a.c"], "abc\n", False),
        (["http://127.0.0.1:8080/x"], "http://127.0.0.1:8080/x\n", True),
    ],
)
def test_what_lines_of_a_page_stand_for(page: list[str], output: str, same: bool) -> None:
    assert matches(page, output) is same


def test_block_that_begins_with_output_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2: a console block begins with a command"):
        read("```console\nhello\n```\n")
