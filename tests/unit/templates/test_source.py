"""What may be named as a template repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import InvalidInput, NotFound
from penstock.templates.source import Source, parse_source


@pytest.mark.parametrize(
    ("text", "url", "ref"),
    [
        ("https://example.com/a/b", "https://example.com/a/b", ""),
        ("https://example.com/a/b.git#v1", "https://example.com/a/b.git", "v1"),
        ("ssh://git@example.com:22/a#sha-0123abc", "ssh://git@example.com:22/a", "sha-0123abc"),
        ("git://example.com/a#feature/x", "git://example.com/a", "feature/x"),
        ("file:///srv/a", "file:///srv/a", ""),
        ("git@example.com:a/b.git#main", "git@example.com:a/b.git", "main"),
    ],
)
def test_urls(tmp_path: Path, text: str, url: str, ref: str) -> None:
    assert parse_source(text, tmp_path) == Source(url, ref)


def test_folders_become_urls(tmp_path: Path) -> None:
    (tmp_path / "my repo#1").mkdir()
    (tmp_path / "plain").mkdir()
    assert parse_source("my repo#1", tmp_path).url == f"file://{tmp_path}/my%20repo%231"
    assert parse_source("./plain#v1", tmp_path) == Source(f"file://{tmp_path}/plain", "v1")
    assert parse_source(str(tmp_path / "plain"), Path("/")) == Source(f"file://{tmp_path}/plain")


@pytest.mark.parametrize(
    "text",
    [
        "", "--upload-pack=touch x", "-c", "ext::sh -c x", "fd::7", "ftp://example.com/a", "javascript://x", "https://-x/",
        "https://example.com/a\nb", "git@example.com::x", "https://example.com/a#", "https://example.com/a#-b",
        "https://example.com/a#../x", "https://example.com/a#a b", "ssh://-oProxyCommand=x/a", "ssh://[-oProxyCommand=x]/a", "ssh://git@-oProxyCommand=x/a",
        "ssh://%2DoProxyCommand=x/a", "ssh://-l@example.com/a", "EXT::sh", "file://-x/a",
    ],
)  # fmt: skip
def test_what_is_no_repository(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_source(text, tmp_path)


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"there is no folder '\./nowhere'"):
        parse_source("./nowhere", tmp_path)


def test_only_a_commit_is_pinned_by_its_digits() -> None:
    assert Source("x", "sha-0123ABC").commit == "0123abc"
    assert [Source("x", ref).commit for ref in ("", "main", "sha-012", "sha-main123")] == [""] * 4


def test_passwords_are_not_shown() -> None:
    assert Source("https://kim:s3cret@example.com/a").shown == "https://example.com/a"
    assert Source("HTTPS://token@example.com/a").shown == "HTTPS://example.com/a"
    assert Source("ssh://git:s3cret@example.com/a").shown == "ssh://git@example.com/a"
    assert Source("https://example.com:8443/a@b").shown == "https://example.com:8443/a@b"
    assert Source("git@example.com:a/b").shown == "git@example.com:a/b"
