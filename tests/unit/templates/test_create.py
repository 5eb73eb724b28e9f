"""How a function begins: its folder, its entry, .gitignore; and that nothing is left of one that could not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from penstock.errors import AlreadyExists, InvalidInput, NotFound
from penstock.model import Resources
from penstock.stack.load import load_stack
from penstock.templates.catalogue import find_template
from penstock.templates.create import Beginning, begin, check


def new(directory: Path, lang: str = "python3-http", **wish: object) -> None:
    begin(Beginning(**{"name": "hello", **wish}), find_template(lang, directory), lang, directory)  # type: ignore[arg-type]


def test_a_folder_an_entry_and_what_git_leaves_out(tmp_path: Path) -> None:
    new(tmp_path, prefix="registry.example.com/team/", limits=Resources(memory="128Mi"))
    [function] = load_stack("stack.yaml", {}, directory=tmp_path).functions
    assert (function.name, function.lang, function.handler) == ("hello", "python3-http", "./hello")
    assert (function.image, function.limits.memory) == ("registry.example.com/team/hello:latest", "128Mi")
    assert sorted(os.listdir(tmp_path)) == [".gitignore", "hello", "stack.yaml"]
    assert sorted(os.listdir(tmp_path / "hello")) == ["handler.py", "handler_test.py", "requirements.txt"]
    assert (tmp_path / ".gitignore").read_text() == "template\nbuild\n.secrets\n"


def test_a_program_needs_no_folder(tmp_path: Path) -> None:
    new(tmp_path, "cli")
    [function] = load_stack("stack.yaml", {}, directory=tmp_path).functions
    assert (function.lang, function.handler, function.fprocess) == ("cli", "", "wc -w")
    assert sorted(os.listdir(tmp_path)) == [".gitignore", "stack.yaml"]


def test_a_file_that_gets_one_more_keeps_its_text(tmp_path: Path) -> None:
    text = "# mine\nfunctions:\n  first:   # of two\n    image: a\n"
    (tmp_path / "my.yml").write_text(text)
    (tmp_path / "my.yml").chmod(0o600)
    new(tmp_path, file="my.yml", append=True, handler="src/hello")
    assert (tmp_path / "my.yml").read_text().startswith(text)
    assert (tmp_path / "my.yml").stat().st_mode & 0o777 == 0o600
    assert [function.handler for function in load_stack("my.yml", {}, directory=tmp_path).functions] == [
        "",
        "./src/hello",
    ]
    assert (tmp_path / "src/hello/handler.py").is_file()


def test_gitignore_keeps_its_lines(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_bytes(b"/build/\n\xff.pyc")
    new(tmp_path)
    assert (tmp_path / ".gitignore").read_bytes() == b"/build/\n\xff.pyc\ntemplate\n.secrets\n"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "-x", "x-", "a b", "a\nb", "x" * 64, "ä"])
def test_hostile_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        check(Beginning(name=name), tmp_path)


@pytest.mark.parametrize("file", ["stack.txt", "https://example.com/stack.yml", "a\n.yml"])
def test_what_is_no_name_of_a_stack_file(tmp_path: Path, file: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be a stack file"):
        check(Beginning(name="hello", file=file), tmp_path)


@pytest.mark.parametrize("prefix", ["UPPER", "a b", "/a", "a\n", "--x", "a//:", "ä"])
def test_what_cannot_begin_an_images_name(tmp_path: Path, prefix: str) -> None:
    with pytest.raises(InvalidInput, match="prefix: "):
        check(Beginning(name="hello", prefix=prefix), tmp_path)


@pytest.mark.parametrize("handler", ["-x", "a\nb"])
def test_what_cannot_be_a_folder(tmp_path: Path, handler: str) -> None:
    with pytest.raises(InvalidInput, match="handler: "):
        check(Beginning(name="hello", handler=handler), tmp_path)


def test_nothing_that_is_there_is_overwritten(tmp_path: Path) -> None:
    new(tmp_path)
    with pytest.raises(AlreadyExists, match=r"stack\.yaml exists; add the function to it with --append stack\.yaml"):
        new(tmp_path, name="other")
    with pytest.raises(AlreadyExists, match="folder hello exists"):
        new(tmp_path, append=True)
    with pytest.raises(AlreadyExists, match="there is a function 'hello' already"):
        new(tmp_path, append=True, handler="elsewhere")
    with pytest.raises(NotFound, match="there is no such file to append to"):
        new(tmp_path, name="other", file="other.yaml", append=True)
    assert sorted(os.listdir(tmp_path)) == [".gitignore", "hello", "stack.yaml"]


def test_a_dangling_link_is_in_the_way_too(tmp_path: Path) -> None:
    (tmp_path / "hello").symlink_to("nowhere")
    with pytest.raises(AlreadyExists):
        new(tmp_path)


def test_nothing_is_left_of_one_that_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.yml").write_text("functions: [\n")
    with pytest.raises(InvalidInput, match=r"broken\.yml:"):
        new(tmp_path, file="broken.yml", append=True)

    def interrupt(self: Path, text: str, **rest: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupt)
    with pytest.raises(KeyboardInterrupt):
        new(tmp_path, handler="deep/down/hello")
    assert os.listdir(tmp_path) == ["broken.yml"]


def test_a_gitignore_that_is_no_file_is_told(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").mkdir()
    with pytest.raises(IsADirectoryError):
        new(tmp_path)
    assert os.listdir(tmp_path) == [".gitignore"]


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(source: Path, target: Path, **rest: object) -> None:
        target.mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copytree", interrupt)
    with pytest.raises(KeyboardInterrupt):
        new(tmp_path, handler="deep/hello")
    assert os.listdir(tmp_path) == []
