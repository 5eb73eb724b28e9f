"""A real git repository on disk that has templates."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A",
    "GIT_AUTHOR_EMAIL": "a@example.com",
    "GIT_COMMITTER_NAME": "A",
    "GIT_COMMITTER_EMAIL": "a@example.com",
}
"""git without anybody's own configuration."""


class Repository:
    """What tests do to a repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def git(self, *arguments: str, given: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=ENVIRON, input=given, capture_output=True, check=True
        )
        return done.stdout.decode().strip()

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def template(self, name: str, mark: str = "one") -> None:
        self.write(
            {
                f"template/{name}/template.yml": f"language: {name}\nfprocess: {mark}\n",
                f"template/{name}/Dockerfile": "FROM scratch\n",
                f"template/{name}/function/handler.sh": "cat\n",
            }
        )

    def commit(self) -> str:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "x")
        return self.git("rev-parse", "HEAD")

    def add_entry(self, mode: str, path: str, content: bytes = b"x") -> None:
        """Commit one entry that the file system need not be able to hold."""
        digits = "1" * 40 if mode == "160000" else self.git("hash-object", "-w", "--stdin", given=content)
        self.git("update-index", "--add", "--cacheinfo", f"{mode},{digits},{path}")
        self.git("commit", "--quiet", "--message", "x")

    def literal_tree(self, path: str) -> None:
        """Commit a file under a path that git's own commands refuse to make."""
        blob = self.git("hash-object", "-w", "--stdin", given=b"x")
        digits, mode = blob, b"100644"
        for part in reversed(path.split("/")):
            tree = mode + b" " + part.encode() + b"\0" + bytes.fromhex(digits)
            digits = self.git("hash-object", "-t", "tree", "-w", "--stdin", "--literally", given=tree)
            mode = b"40000"
        commit = self.git("commit-tree", digits, "-m", "x")
        self.git("update-ref", "refs/heads/main", commit)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """With the templates `cobol` and `ada` on branch main."""
    made = Repository(tmp_path / "repository")
    made.template("cobol")
    made.template("ada")
    made.commit()
    return made


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    return folder
