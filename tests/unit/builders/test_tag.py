"""Tags of images, and what git has to do with them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from penstock.builders.tag import Style, tagged
from penstock.errors import InvalidInput, NotSupported
from tests.unit.builders.requests import write


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.chdir(write(tmp_path, {"fn/handler.py": "h"}))
    return tmp_path


def git(*arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *who, *arguments], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def repository(here: Path) -> str:
    """A repository with one commit, on the branch feat/x; its short name."""
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    git("checkout", "-q", "-b", "feat/x")
    return git("rev-parse", "--short", "HEAD")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("fn", "fn:latest"),
        ("fn:0.1", "fn:0.1"),
        ("reg:5000/a/fn", "reg:5000/a/fn:latest"),
        ("reg:5000/fn:2", "reg:5000/fn:2"),
    ],
)
def test_latest_is_added_where_there_is_no_tag(here: Path, image: str, expected: str) -> None:
    assert tagged(image, "latest", here / "fn") == expected


@pytest.mark.parametrize("style", ["latest", "digest"])
@pytest.mark.parametrize(
    "image", ["-v/x", "--help", "UPPER", "a b", "a/../b", "a:b:c", "a\x1b[31m", "http://a/b", "a/fn:-x"]
)
def test_a_name_that_no_image_can_have(here: Path, image: str, style: Style) -> None:
    with pytest.raises(InvalidInput, match="image"):
        tagged(image, style, here / "fn")


@pytest.mark.service("git")
def test_the_states_of_a_repository(here: Path, repository: str) -> None:
    assert tagged("a/fn:1", "sha", here / "fn") == f"a/fn:1-{repository}"
    assert tagged("a/fn", "branch", here / "fn") == f"a/fn:latest-feat-x-{repository}"
    assert tagged("a/fn", "describe", here / "fn") == f"a/fn:latest-{repository}"
    git("tag", "v1")
    assert tagged("a/fn", "describe", here / "fn") == "a/fn:latest-v1"


def test_a_digest_takes_the_tags_place_and_depends_on_files_alone(here: Path) -> None:
    first = tagged("reg:5000/fn:1", "digest", here / "fn")
    assert first.startswith("reg:5000/fn:") and len(first) == len("reg:5000/fn:") + 32
    assert tagged("reg:5000/fn:2", "digest", here / "fn") == first
    (here / "fn/handler.py").write_text("other")
    assert tagged("reg:5000/fn", "digest", here / "fn") != first


@pytest.mark.service("git")
@pytest.mark.parametrize("style", ["sha", "branch", "describe"])
def test_outside_of_a_repository(here: Path, style: Style) -> None:
    with pytest.raises(InvalidInput, match=rf"--tag {style} needs a git repository with a commit.*git says: fatal"):
        tagged("fn", style, here / "fn")


@pytest.mark.service("git")
def test_a_repository_without_a_commit(here: Path) -> None:
    git("init", "-q")
    with pytest.raises(InvalidInput, match="needs a git repository with a commit"):
        tagged("fn", "sha", here / "fn")


def test_without_git(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(here))
    with pytest.raises(NotSupported, match="apt-get install git"):
        tagged("fn", "sha", here / "fn")


def test_an_image_named_by_digest_cannot_be_built(here: Path) -> None:
    with pytest.raises(InvalidInput, match="by its digest"):
        tagged("fn@sha256:" + "0" * 64, "latest", here / "fn")
