"""Which changed files belong to which function, and which are nobody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cli.watching import Sources, watched
from penstock.errors import PenstockError
from penstock.stack.model import Position, Stack, StackFunction


def function(name: str, handler: str, **fields: object) -> StackFunction:
    where = Position("stack.yml", 1)
    return StackFunction(name=name, where=where, lang="python3-http", handler=handler, **fields)  # type: ignore[arg-type]


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in ("a", "b", "common"):
        (tmp_path / name).mkdir()
    (tmp_path / "stack.yml").touch()
    return tmp_path


def touched(here: Path, *names: str, functions: tuple[StackFunction, ...] = (), copy: tuple[str, ...] = ()) -> set[str]:
    chosen = functions or (function("a", "a"), function("b", "./b"))
    return Sources(Stack(file="stack.yml", functions=chosen, copy=copy), here).touched(
        str(here / name) for name in names
    )


def test_a_file_belongs_to_the_function_in_whose_folder_it_is(here: Path) -> None:
    assert touched(here, "a/handler.py") == {"a"}
    assert touched(here, "a/deep/er/x.txt", "b/requirements.txt") == {"a", "b"}
    assert touched(here, "elsewhere/x.py", "ab/handler.py", "stack.yml") == set()


def test_copied_files_belong_to_all(here: Path) -> None:
    assert touched(here, "common/x.py", copy=("common",)) == {"a", "b"}


def test_functions_may_share_a_folder(here: Path) -> None:
    both = (function("one", "a"), function("two", "./a/"))
    assert touched(here, "a/handler.py", functions=both) == {"one", "two"}


@pytest.mark.parametrize(
    "name",
    [
        ".handler.py.swp", ".handler.py.swx", "handler.py~", ".#handler.py", "#handler.py#", "4913", ".DS_Store",
        "handler.cpython-311.pyc", "__pycache__/x", ".git/index", "node_modules/x/index.js", "lib/node_modules/x.js",
        "x.py___jb_tmp___", ".goutputstream-ABC",
    ],
)  # fmt: skip
def test_what_editors_and_tools_write_is_nobodys(here: Path, name: str) -> None:
    assert touched(here, f"a/{name}") == set()


def test_the_current_directory_as_a_handler(here: Path) -> None:
    alone = (function("a", "."),)
    assert touched(here, "handler.py", functions=alone) == {"a"}
    assert touched(here, "build/a/x.py", "template/t/x", functions=alone) == set()
    assert touched(here, "src/build/x.py", functions=alone) == {"a"}


def test_functions_without_a_source_are_not_watched(here: Path) -> None:
    skipped = function("s", "a", skip_build=True)
    program = StackFunction(name="p", where=Position("stack.yml", 1), fprocess="cat")
    assert Sources(Stack(file="stack.yml", functions=(skipped, program)), here).folders == []


def test_the_stack_file_is_known_by_its_path_unless_it_is_remote(here: Path) -> None:
    local = Sources(Stack(file="stack.yml"), here)
    assert local.file_touched({str(here / "stack.yml")})
    assert not local.file_touched({str(here / "other.yml")})
    assert not Sources(Stack(file="https://example.com/stack.yml"), here).file_touched({""})


def test_files_of_variables_count_as_the_stack_file(here: Path) -> None:
    (here / "env").mkdir()
    (here / "env/real.yml").touch()
    (here / "env.yml").symlink_to("env/real.yml")
    sources = Sources(
        Stack(file="stack.yml", functions=(function("a", "a", environment_files=(here / "env.yml",)),)), here
    )
    assert sources.file_touched({str(here / "env.yml")})
    assert sources.file_touched({str(here / "env/real.yml")})
    assert not sources.file_touched({str(here / "env/other.yml")})


def test_a_folder_that_comes_goes_or_is_replaced_asks_for_another_watch(here: Path) -> None:
    def sources() -> Sources:
        return Sources(Stack(file="stack.yml", functions=(function("late", "late"),)), here)

    before = sources()
    assert (before.folders, before.outdated()) == ([], False)
    (here / "late").mkdir()
    assert before.outdated()
    there = sources()
    assert (there.folders, there.outdated()) == ([str(here / "late")], False)
    (here / "late/handler.py").touch()
    assert not there.outdated()
    (here / "late").rename(here / "before")
    assert there.outdated()
    (here / "late").mkdir()
    assert there.outdated()


def test_changes_come_once_the_watch_has_begun(here: Path) -> None:
    sources = Sources(Stack(file="stack.yml", functions=(function("a", "a"),)), here)
    with watched(sources) as changes:
        (here / "a/handler.py").write_text("new")
        assert str(here / "a/handler.py") in _until_something(changes.next)
        (here / "stack.new").write_text("functions: {}")
        (here / "stack.new").rename(here / "stack.yml")
        seen: set[str] = set()
        while not sources.file_touched(seen):
            seen |= _until_something(changes.next)


def test_a_system_that_refuses_to_watch_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*paths: str, **options: object) -> None:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr("watchfiles.watch", refuse)
    sources = Sources(Stack(file="stack.yml", functions=(function("a", "a"),)), here)
    with pytest.raises(PenstockError, match="cannot be watched: OS file watch limit reached"), watched(sources):
        pass


def _until_something(ask: object) -> set[str]:
    assert callable(ask)
    for _ in range(120):
        if found := ask():
            return set(found)
    raise TimeoutError("no change came")
