"""git as it is run for templates, when git itself, or who it speaks to, says too much."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.templates.git import Git, GitFailed


def git(folder: Path, script: str) -> Git:
    program = folder / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Git({"PATH": f"{folder}:/usr/bin:/bin"})


def test_what_git_writes_is_returned(tmp_path: Path) -> None:
    assert git(tmp_path, 'echo "$@"; echo progress >&2').run(["ls-tree", "x"]) == b"ls-tree x\n"


def test_more_than_is_wanted_ends_it(tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="says more than 1000 bytes"):
        git(tmp_path, "exec yes").run(["ls-tree"], most=1000)


def test_words_without_end_are_cut(tmp_path: Path) -> None:
    with pytest.raises(GitFailed) as caught:
        git(tmp_path, "yes | head -c 30000000 >&2; echo fatal: so >&2; exit 1").run(["clone"])
    assert len(str(caught.value)) <= 4000
    assert str(caught.value).endswith("fatal: so")


def test_words_do_not_steer_the_terminal(tmp_path: Path) -> None:
    with pytest.raises(GitFailed) as caught:
        git(tmp_path, r"printf 'remote: \033[31mred\007\r\n50%%\r100%%\nfatal: x\n' >&2; exit 1").run(["clone"])
    assert str(caught.value) == "remote: \ufffd[31mred\ufffd\n100%\nfatal: x"


def test_a_git_that_says_nothing_is_told_by_its_code(tmp_path: Path) -> None:
    with pytest.raises(GitFailed, match="git clone ended with exit code 3"):
        git(tmp_path, "exit 3").run(["clone"])
