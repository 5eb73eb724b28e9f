"""Templates from a real git repository: branches, tags, pinned commits, what is refused, and what is left when it fails."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.errors import AlreadyExists, InvalidInput, NotFound, NotSupported, PenstockError
from penstock.templates.catalogue import find_template
from penstock.templates.git import GitFailed
from penstock.templates.repository import MOST_CONTENT, MOST_LISTED, Wanted, pull
from penstock.templates.source import parse_source
from tests.integration.templates.conftest import ENVIRON, Repository


def bring(text: str, here: Path, wanted: Wanted | None = None) -> tuple[str, ...]:
    return pull(parse_source(text, here), here, ENVIRON, wanted)


def mark(here: Path, name: str) -> str:
    return find_template(name, here).fprocess


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_all_templates_of_a_repository_are_written(repository: Repository, here: Path) -> None:
    (repository.folder / "template/cobol/function/handler.sh").chmod(0o755)
    sha = repository.commit()
    assert bring(repository.url, here) == ("ada", "cobol")
    assert sorted(os.listdir(here / "template")) == ["ada", "cobol"]
    assert stat.S_IMODE((here / "template/cobol/function/handler.sh").stat().st_mode) & 0o100
    notes = json.loads((here / "template/cobol/meta.json").read_text())
    assert notes.pop("written_at").endswith("Z")
    assert notes == {"repository": repository.url, "sha": sha}


def test_a_folder_is_as_good_as_a_url(repository: Repository, here: Path) -> None:
    assert bring("../repository", here) == ("ada", "cobol")


@pytest.mark.parametrize("ref", ["v1.0", "feature/x"])
def test_a_tag_or_a_branch_is_a_part_of_the_name(repository: Repository, here: Path, ref: str) -> None:
    repository.git(*(("tag", ref) if ref == "v1.0" else ("branch", ref)))
    repository.template("cobol", "two")
    repository.commit()
    assert bring(f"{repository.url}#{ref}", here) == (f"ada@{ref}", f"cobol@{ref}")
    assert mark(here, f"cobol@{ref}") == "one"
    assert json.loads((here / f"template/cobol@{ref}/meta.json").read_text())["ref_name"] == ref


@pytest.mark.parametrize("digits", [7, 40])
def test_a_commit_is_pinned_by_its_digits(repository: Repository, here: Path, digits: int) -> None:
    pinned = repository.git("rev-parse", "HEAD")
    repository.template("cobol", "two")
    repository.commit()
    name = f"cobol@sha-{pinned[:digits]}"
    assert name in bring(f"{repository.url}#sha-{pinned[:digits]}", here)
    assert mark(here, name) == "one"
    assert json.loads((here / "template" / name / "meta.json").read_text())["sha"] == pinned


def test_one_template_may_be_taken_under_another_name(repository: Repository, here: Path) -> None:
    repository.git("tag", "v1")
    assert bring(f"{repository.url}#v1", here, Wanted(template="cobol", name="cobol")) == ("cobol",)
    assert os.listdir(here / "template") == ["cobol"]


def test_what_is_there_is_replaced_whole(repository: Repository, here: Path) -> None:
    bring(repository.url, here)
    (here / "template/cobol/stale").touch()
    (here / "template/mine").mkdir()
    repository.template("cobol", "two")
    repository.commit()
    bring(repository.url, here)
    assert mark(here, "cobol") == "two"
    assert sorted(os.listdir(here / "template")) == ["ada", "cobol", "mine"]
    assert not (here / "template/cobol/stale").exists()


def test_unless_it_must_not_be(repository: Repository, here: Path) -> None:
    bring(repository.url, here, Wanted(template="cobol"))
    with pytest.raises(AlreadyExists, match=r"would be replaced: cobol "):
        bring(repository.url, here, Wanted(overwrite=False))
    assert os.listdir(here / "template") == ["cobol"]


def link(repository: Repository) -> None:
    repository.add_entry("120000", "template/cobol/function/link", b"/etc/passwd")


def link_of_a_folder(repository: Repository) -> None:
    repository.git("rm", "-r", "--quiet", "--cached", "template")
    repository.add_entry("120000", "template", b"/etc")


def submodule(repository: Repository) -> None:
    repository.add_entry("160000", "template/cobol/module")


def upwards(repository: Repository) -> None:
    repository.literal_tree("template/cobol/../../../owned")


def gits_own(repository: Repository) -> None:
    repository.literal_tree("template/cobol/.GIT/hooks/post-checkout")


def unreadable(repository: Repository) -> None:
    repository.write({"template/cobol/template.yml": "fprocess: [\n"})
    repository.commit()


def pinned_name(repository: Repository) -> None:
    repository.template("x@y")
    repository.commit()


def steering_name(repository: Repository) -> None:
    repository.template("x@\x1b[31m")
    repository.commit()


def steering_folder(repository: Repository) -> None:
    repository.template("x\x1b[31m")
    repository.commit()


def a_file_for_all(repository: Repository) -> None:
    repository.git("rm", "-r", "--quiet", "template")
    repository.write({"template": "no folder"})
    repository.commit()


def link_for_the_description(repository: Repository) -> None:
    (repository.folder / "template/cobol/template.yml").unlink()
    (repository.folder / "template/cobol/template.yml").symlink_to("/etc/hostname")
    repository.commit()


def large_description(repository: Repository) -> None:
    repository.write({"template/cobol/template.yml": "#" * (100 << 20)})
    repository.commit()


def large_file(repository: Repository) -> None:
    with (repository.folder / "template/cobol/function/zeros").open("wb") as file:
        file.truncate(MOST_CONTENT)
    repository.commit()


def outside(repository: Repository) -> None:
    repository.write({"template/cobol/template.yml": "handler_folder: ../..\n"})
    repository.commit()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (link, "'template/cobol/function/link' is a link, which a template may not have"),
        (link_of_a_folder, "'template' is a link"),
        (submodule, "'template/cobol/module' is a submodule"),
        (upwards, "'template/cobol/../../../owned' leads out of its template"),
        (gits_own, "'template/cobol/.GIT/hooks/post-checkout' leads out"),
        (unreadable, ": template/cobol/template.yml:"),
        (pinned_name, "template/x@y: a template's name may not have an '@'"),
        (outside, "handler_folder: '../..' must be a folder below the template"),
        (steering_name, "template/x@\ufffd[31m: a template's name may not have an '@'"),
        (steering_folder, "'x\\x1b[31m' is no name of a template"),
        (link_for_the_description, "'template/cobol/template.yml' is a link"),
        (large_description, "template/cobol/template.yml: is larger than 65536 bytes"),
        (large_file, "its templates have more than 256 MiB"),
    ],
    ids=lambda value: getattr(value, "__name__", "words"),
)
def test_hostile_content_is_named_and_leaves_nothing(
    repository: Repository, here: Path, spoil: Callable[[Repository], None], words: str
) -> None:
    spoil(repository)
    before = everything(here.parent)
    with pytest.raises(InvalidInput) as caught:
        bring(repository.url, here)
    assert str(caught.value).startswith(f"{repository.url}: ")
    assert words in str(caught.value)
    assert everything(here.parent) == before


def test_a_file_in_the_place_of_all_templates_has_none(repository: Repository, here: Path) -> None:
    a_file_for_all(repository)
    with pytest.raises(NotFound, match="has no templates"):
        bring(repository.url, here)
    assert everything(here) == []


def test_a_few_objects_that_name_billions_of_files(repository: Repository, here: Path) -> None:
    digits, mode = repository.git("hash-object", "-w", "--stdin", given=b"x"), b"100644"
    for _ in range(9):
        names = b"".join(mode + f" {name}".encode() + b"\0" + bytes.fromhex(digits) for name in "0123456789")
        digits, mode = repository.git("hash-object", "-t", "tree", "-w", "--stdin", given=names), b"40000"
    tree = b"40000 template\0" + bytes.fromhex(digits)
    digits = repository.git("hash-object", "-t", "tree", "-w", "--stdin", given=tree)
    repository.git("update-ref", "refs/heads/main", repository.git("commit-tree", digits, "-m", "x"))
    with pytest.raises(GitFailed, match=f"git says more than {MOST_LISTED} bytes"):
        bring(repository.url, here)
    assert everything(here) == []


def test_hooks_and_settings_of_a_repository_do_nothing(repository: Repository, here: Path, tmp_path: Path) -> None:
    repository.write({".gitattributes": "* filter=x\n", ".lfsconfig": "[lfs]\nurl = http://127.0.0.1:1/\n"})
    repository.write({".gitmodules": '[submodule "x"]\npath = x\nurl = ext::sh -c touch\n'})
    repository.add_entry("160000", "x")
    hooks = repository.folder / ".git/hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "post-upload-pack", "pre-receive", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/owned\n")
        (hooks / name).chmod(0o755)
    repository.git("config", "filter.x.smudge", f"touch {tmp_path}/owned")
    repository.git("config", "uploadpack.packObjectsHook", f"touch {tmp_path}/owned; true")
    assert bring(repository.url, here) == ("ada", "cobol")
    assert not (tmp_path / "owned").exists()


def test_links_beside_the_templates_are_of_no_concern(repository: Repository, here: Path) -> None:
    repository.add_entry("120000", "docs", b"/etc")
    assert bring(repository.url, here) == ("ada", "cobol")
    assert os.listdir(here) == ["template"]


def test_a_template_does_not_replace_a_link(repository: Repository, here: Path) -> None:
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    (here / "template").mkdir()
    (here / "template/cobol").symlink_to(elsewhere)
    with pytest.raises(InvalidInput, match="is a link"):
        bring(repository.url, here, Wanted(template="cobol"))
    assert everything(here) == ["elsewhere", "template", "template/cobol"]


def test_gits_own_words_are_shown(repository: Repository, here: Path) -> None:
    with pytest.raises(GitFailed) as caught:
        bring(f"{repository.url}#nowhere", here)
    assert str(caught.value).startswith(f"{repository.url} at nowhere: git cannot get it:\n")
    assert "Remote branch nowhere not found" in str(caught.value)
    with pytest.raises(GitFailed, match="does not appear to be a git repository"):
        bring(str(here), here)
    assert os.listdir(here) == []


def test_a_commit_that_is_not_there_is_told(repository: Repository, here: Path) -> None:
    with pytest.raises(NotFound, match="has no commit 0123456"):
        bring(f"{repository.url}#sha-0123456", here)


def test_a_repository_without_templates_is_told(tmp_path: Path, here: Path) -> None:
    empty = Repository(tmp_path / "empty")
    with pytest.raises(PenstockError):
        bring(empty.url, here)
    empty.write({"README.md": "x"})
    empty.commit()
    with pytest.raises(NotFound, match="has no templates"):
        bring(empty.url, here)
    empty.template("ada")
    empty.commit()
    with pytest.raises(NotFound, match="has no template 'cobol'; it has ada"):
        bring(empty.url, here, Wanted(template="cobol"))


def test_a_hook_that_runs_us_does_not_lead_git_astray(repository: Repository, here: Path) -> None:
    astray = {**ENVIRON, "GIT_DIR": "/nonexistent", "GIT_INDEX_FILE": "/nonexistent"}
    assert pull(parse_source(repository.url, here), here, astray) == ("ada", "cobol")


def test_without_git_its_package_is_named(here: Path) -> None:
    with pytest.raises(NotSupported, match="apt-get install git"):
        pull(parse_source("https://example.com/x", here), here, {"PATH": "/nonexistent"})
