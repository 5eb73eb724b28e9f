"""What template.yml may say, and what is told of one that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from penstock.core.shown import shown
from penstock.errors import InvalidInput
from penstock.templates.model import BuildOption, Native
from penstock.templates.read import LARGEST, check_ref, check_template_name, read_template


def template(folder: Path, text: str) -> Path:
    (folder / "template.yml").write_text(text)
    return folder


def test_everything_that_others_write_is_read(tmp_path: Path) -> None:
    folder = template(
        tmp_path,
        "language: Cobol\nfprocess: ./main on\nbuild_options:\n  - name: dev\n    packages: [make, 7zip]\n"
        "welcome_message: |\n  Hello.\nhandler_folder: src/function\nmount_ssh: true\nunknown: [1]\n",
    )
    read = read_template(folder, "cobol@v1")
    assert (read.name, read.language, read.fprocess, read.welcome_message) == (
        "cobol@v1",
        "Cobol",
        "./main on",
        "Hello.\n",
    )
    assert read.build_options == (BuildOption("dev", ("make", "7zip")),)
    assert (read.handler_folder, read.starter, read.mount_ssh) == ("src/function", tmp_path / "src/function", True)
    assert (read.native, read.shipped, read.needs_source) == (None, False, False)


@pytest.mark.parametrize(
    "text", ["", "language:\nfprocess: ~\nbuild_options:\n", "{}"], ids=["empty", "nulls", "braces"]
)
def test_what_is_not_said_has_its_default(tmp_path: Path, text: str) -> None:
    read = read_template(template(tmp_path, text), "x")
    assert (read.language, read.fprocess, read.build_options, read.handler_folder) == ("", "", (), "function")


def test_our_own_key_says_how_it_runs_without_a_container(tmp_path: Path) -> None:
    folder = template(
        tmp_path,
        'native: {toolchain: none, fprocess: "sh {function}/x.sh", environment: {a: 010, b: yes}, program: sh, package: dash}',
    )
    assert read_template(folder, "x").native == Native(
        fprocess="sh {function}/x.sh", environment={"a": "010", "b": "yes"}, program="sh", package="dash"
    )


def test_our_own_key_says_which_files_a_handler_must_have(tmp_path: Path) -> None:
    assert read_template(template(tmp_path, 'needs: [handler.py, "*.txt"]'), "x").needs == ("handler.py", "*.txt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "template.yml:1: "),
        ("language: x\nlanguage: y\n", "template.yml:2: 'language' is there twice"),
        ("a: &a [1]\nb: *a\n", "template.yml:2: aliases are not allowed"),
        ("? [a]\n: b\n", "template.yml:1: a key must be a word"),
        ("!!python/object:os.system {}\n", "template.yml:1: could not determine a constructor"),
        ("- a\n", "template.yml: Expected `object`, got `array`"),
        ("fprocess: [a]", "at `$.fprocess`"),
        ("mount_ssh: perhaps", "at `$.mount_ssh`"),
        ("build_options: [{packages: [a]}]", "at `$.build_options[0]`"),
        ("handler_folder: ../other", "handler_folder: '../other' must be a folder below the template"),
        ("handler_folder: /etc", "handler_folder: '/etc' must be"),
        ("handler_folder: .", "handler_folder: '.' must be"),
        ("native: {toolchain: cobol}", "at `$.native.toolchain`"),
        ('native: {fprocess: "{nowhere}/x"}', "native: {nowhere} is unknown, use one of build, function, python, site"),
        ("a: \0", "is not YAML"),
        ("[" * 600, "is nested too deeply"),
        ("a" * (LARGEST + 1), f"is larger than {LARGEST} bytes"),
    ],
    ids=[
        "broken", "twice", "alias", "key", "object", "list", "type", "truth", "option", "outside", "absolute", "itself",
        "toolchain", "place", "control", "deep", "large",
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named_with_its_file(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_template(template(tmp_path, text), "x")
    assert str(caught.value).startswith(str(tmp_path / "template.yml"))
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "template.yml"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(InvalidInput, match=r"template\.yml: (is no file|cannot be read: Is a directory)"):
        read_template(tmp_path, "x")


def test_what_would_steer_a_terminal_is_not_kept(tmp_path: Path) -> None:
    text = 'language: "\\e[31mred\\u009b2J"\nwelcome_message: "a\\u202eb\\a\\tc\\n\\r"\ndescription: "\\0"\n'
    read = read_template(template(tmp_path, text), "x")
    assert (read.language, read.description) == ("\ufffd[31mred\ufffd2J", "\ufffd")
    assert read.welcome_message == "a\ufffdb\ufffd\tc\n\ufffd"


@pytest.mark.parametrize(
    "text",
    [
        'native: {toolchain: "\\e[31m"}',
        '"\\e[31m": 1\n"\\e[31m": 2\n',
        'mount_ssh: "\\e[31m"',
        "!<\\e> x",
        "handler_folder: '/\u202e'",
    ],
)
def test_nor_is_it_told_of(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_template(template(tmp_path, text), "x")
    assert shown(str(caught.value)) == str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"template\.yml: cannot be read: No such file"):
        read_template(tmp_path, "x")


@pytest.mark.parametrize("name", ["python3-http", "a_b.c", "go@1.19", "x@feature/y", "x@sha-0123abc"])
def test_names_of_templates(name: str) -> None:
    assert check_template_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/b",
        "-x",
        "a b",
        "x@",
        "x@../y",
        "x@/y",
        "x@-b",
        "x@a..b",
        "x@a/.git",
        "x@a//b",
        "x@b.lock",
    ],
)
def test_what_is_no_name_of_a_template(name: str) -> None:
    with pytest.raises(InvalidInput, match="template: "):
        check_template_name(name)


@pytest.mark.parametrize("ref", ["main", "v1.2.3", "release/1+2"])
def test_refs(ref: str) -> None:
    assert check_ref(ref) == ref
