"""The folder of a build: what is copied, from where, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.builders.context import assemble
from penstock.builders.model import BuildRequest
from penstock.errors import InvalidInput
from penstock.templates.model import Template
from tests.unit.builders.requests import request, template, write


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "project"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def python(here: Path) -> Template:
    files = {"Dockerfile": "FROM scratch\n", "index.py": "i", "function/handler.py": "sample", "meta.json": "{}"}
    return template(write(here / "template/python", files))


def listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def test_the_handler_lies_over_the_templates_sample(here: Path, python: Template) -> None:
    write(here / "fn", {"handler.py": "mine", "lib/deep.py": "d"})
    folder = assemble(request(python))
    assert folder == here / "build/fn"
    assert listing(folder) == {"Dockerfile", "index.py", "function/handler.py", "function/lib/deep.py"}
    assert (folder / "function/handler.py").read_text() == "mine"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_of_a_shipped_templates_sample_only_the_manifest_stands_in(here: Path) -> None:
    sample = {"function/handler.py": "s", "function/handler_test.py": "s", "function/deep/page.html": "s"}
    chosen = template(
        write(here / "shipped/python", {"Dockerfile": "d", "function/requirements.txt": "", **sample}), shipped=True
    )
    write(here / "fn", {"handler.py": "mine"})
    assert listing(assemble(request(chosen))) == {"Dockerfile", "function/handler.py", "function/requirements.txt"}


def test_a_file_that_the_template_needs_is_missed_by_its_name(here: Path) -> None:
    chosen = template(write(here / "template/t", {"Dockerfile": "d"}), needs=("handler.py", "*.txt"))
    write(here / "fn", {"handlr.py": "mine", "a.txt": ""})
    with pytest.raises(InvalidInput) as caught:
        assemble(request(chosen))
    assert str(caught.value) == (
        "stack.yml:3: function 'fn': there is no handler.py in 'fn', which template 't' needs; is it 'handlr.py'?"
    )
    write(here / "fn", {"handler.py": "mine"})
    assemble(request(chosen))
    (here / "fn/a.txt").unlink()
    with pytest.raises(InvalidInput, match=r"there is no \*\.txt in 'fn'"):
        assemble(request(chosen))


@pytest.mark.parametrize("fields", [{"fprocess": "cat"}, {"environment": {"handler": "other.py"}}], ids=str)
def test_who_runs_something_else_needs_nothing_of_the_template(here: Path, fields: dict[str, Any]) -> None:
    chosen = template(write(here / "template/t", {"Dockerfile": "d"}), needs=("handler.py",))
    write(here / "fn", {"other.py": ""})
    asked = request(chosen)
    assemble(msgspec.structs.replace(asked, function=msgspec.structs.replace(asked.function, **fields)))


def test_what_is_copied_into_a_handlers_folder_counts_as_its_own(here: Path) -> None:
    chosen = template(write(here / "template/t", {"Dockerfile": "d"}), needs=("*shared.py",))
    write(here, {"fn/x": "", "lib/shared.py": ""})
    assemble(request(chosen, copy=(here / "lib",)))


def test_it_is_made_anew_each_time(here: Path, python: Template) -> None:
    write(here / "fn", {"handler.py": "1", "old.py": "o"})
    folder = assemble(request(python))
    (folder / "stray").write_text("s")
    (here / "fn/old.py").unlink()
    assemble(request(python))
    assert listing(folder) == {"Dockerfile", "index.py", "function/handler.py"}


def test_without_a_template_the_handler_is_the_root(here: Path) -> None:
    write(here / "fn", {"Dockerfile": "FROM scratch", "main.c": "m"})
    assert listing(assemble(request(None))) == {"Dockerfile", "main.c"}


def test_without_a_template_there_must_be_a_dockerfile(here: Path) -> None:
    write(here / "fn", {"main.c": "m"})
    with pytest.raises(InvalidInput, match=r"stack\.yml:3: function 'fn': lang dockerfile asks for a Dockerfile"):
        assemble(request(None))


def test_another_handler_folder(here: Path, python: Template) -> None:
    write(here / "fn", {"Handler.java": "j"})
    other = template(python.folder, handler_folder="src/main")
    assert "src/main/Handler.java" in listing(assemble(request(other)))


def test_the_current_directory_may_be_the_handler(here: Path, python: Template) -> None:
    write(here, {"handler.py": "h", "build/other/x": "x", "src/build/kept.py": "k"})
    assert {name for name in listing(assemble(request(python, handler="."))) if name.startswith("function/")} == {
        "function/handler.py",
        "function/src/build/kept.py",
    }


def test_history_and_caches_of_python_stay_behind(here: Path, python: Template) -> None:
    write(here / "fn", {"handler.py": "h", ".git/config": "g", "lib/__pycache__/x.pyc": "p"})
    assert "function/handler.py" in (found := listing(assemble(request(python))))
    assert not [name for name in found if ".git" in name or "__pycache__" in name]


def test_copied_paths_keep_their_place(here: Path, python: Template) -> None:
    write(here, {"fn/handler.py": "h", "common/lib/a.py": "a", "models/one.bin": "1", "models/two.bin": "2"})
    wish = request(python, copy=(here / "common", here / "models/one.bin"))
    assert {"function/common/lib/a.py", "function/models/one.bin"} <= (found := listing(assemble(wish)))
    assert "function/models/two.bin" not in found


def test_modes_are_kept_with_the_owners_bits_added(here: Path, python: Template) -> None:
    write(here / "fn", {"run.sh": "#!/bin/sh", "secret": "s"})
    (here / "fn/run.sh").chmod(0o755)
    (here / "fn/secret").chmod(0o400)
    folder = assemble(request(python)) / "function"
    assert (folder / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600


def test_a_file_where_the_template_has_a_folder(here: Path, python: Template) -> None:
    write(python.folder, {"function/data/a": "a", "function/data/b/c": "c"})
    write(here / "fn", {"data": "file"})
    assert (assemble(request(python)) / "function/data").read_text() == "file"


def test_a_folder_where_the_template_has_a_link(here: Path, python: Template) -> None:
    (python.folder / "function/data").symlink_to("handler.py")
    write(here / "fn", {"data/a": "a"})
    folder = assemble(request(python)) / "function"
    assert (folder / "data/a").read_text() == "a"
    assert (folder / "handler.py").read_text() == "sample"


def test_links_that_stay_inside_are_kept(here: Path, python: Template) -> None:
    write(here / "fn", {"handler.py": "h", "lib/a.py": "a"})
    (here / "fn/alias.py").symlink_to("lib/a.py")
    (here / "fn/lib/up.py").symlink_to("../handler.py")
    (here / "fn/folder").symlink_to("lib")
    (here / "fn/dangling").symlink_to("not-yet")
    folder = assemble(request(python)) / "function"
    assert os.readlink(folder / "alias.py") == "lib/a.py"
    assert os.readlink(folder / "folder") == "lib"
    assert os.readlink(folder / "dangling") == "not-yet"
    assert (folder / "lib/up.py").read_text() == "h"


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "lib/../../outside", ".."])
def test_links_that_lead_outside_are_refused(here: Path, python: Template, target: str) -> None:
    write(here, {"fn/handler.py": "h", "fn/lib/a": "a", "outside": "o"})
    (here / "fn/link").symlink_to(target)
    with pytest.raises(InvalidInput, match=r"function 'fn': handler: the link .*/fn/link' leads to"):
        assemble(request(python))


def test_an_absolute_link_to_the_inside_would_leave_the_copy(here: Path, python: Template) -> None:
    write(here / "fn", {"handler.py": "h"})
    (here / "fn/link").symlink_to(here / "fn/handler.py")
    with pytest.raises(InvalidInput, match="only relative links"):
        assemble(request(python))


def test_a_link_behind_a_link_that_leads_outside(here: Path, python: Template) -> None:
    write(here, {"fn/handler.py": "h", "other/secret": "s"})
    (here / "fn/one").symlink_to("two")
    (here / "fn/two").symlink_to("../other")
    with pytest.raises(InvalidInput, match="leads to"):
        assemble(request(python))


def test_what_is_no_file_is_refused(here: Path, python: Template) -> None:
    write(here / "fn", {"handler.py": "h"})
    os.mkfifo(here / "fn/pipe")
    with pytest.raises(InvalidInput, match=r"pipe' is neither a file nor a folder nor a link"):
        assemble(request(python))


def refused(wish: BuildRequest) -> str:
    with pytest.raises(InvalidInput) as caught:
        assemble(wish)
    return str(caught.value)


def test_copies_from_outside_are_refused(here: Path, python: Template) -> None:
    write(here, {"fn/handler.py": "h"})
    write(here.parent, {"project2/a": "a"})  # a name that begins like ours is not inside
    (here / "sneaky").symlink_to("../project2")
    assert "is not inside the current directory" in refused(request(python, copy=(here / "../project2",)))
    assert "is not inside the current directory" in refused(request(python, copy=(here / "sneaky/a",)))
    assert "there is nothing at" in refused(request(python, copy=(here / "nothing",)))


def test_what_would_be_copied_into_itself_is_refused(here: Path, python: Template) -> None:
    write(here, {"fn/handler.py": "h", "build/fn/kept": "k"})
    assert "copied into itself" in refused(request(python, copy=(here,)))
    assert "copied into itself" in refused(request(python, handler=".."))
    assert "which the build makes anew" in refused(request(python, copy=(here / "build/fn",)))
    assert "which the build makes anew" in refused(request(python, handler="build/fn"))
    assert (here / "build/fn/kept").exists()  # nothing was wiped


@pytest.mark.parametrize(
    ("handler", "words"), [("", "no handler is given"), ("none", "there is no folder 'none'"), ("file", "is a file")]
)
def test_a_handler_must_be_a_folder(here: Path, python: Template, handler: str, words: str) -> None:
    write(here, {"file": "f"})
    assert words in refused(request(python, handler=handler))


def test_a_template_whose_handler_folder_leads_out(here: Path, python: Template) -> None:
    write(here / "fn", {"handler.py": "h"})
    assert "leads out of the template" in refused(request(template(python.folder, handler_folder="a/../../x")))


def test_a_build_folder_that_is_a_link_is_not_wiped(here: Path, python: Template) -> None:
    write(here, {"fn/handler.py": "h", "precious/data": "p"})
    (here / "build").mkdir()
    (here / "build/fn").symlink_to("../precious")
    assert "is a link" in refused(request(python))
    assert (here / "precious/data").exists()
