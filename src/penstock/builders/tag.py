"""The tag of an image, as written or with the state of the source in it (contract watchdog-cli §4.4, point 4)."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Literal, get_args

from penstock.builders.tree import walk
from penstock.errors import InvalidInput, NotSupported
from penstock.providers.containers.reference import parse

Style = Literal["latest", "sha", "branch", "describe", "digest"]
STYLES: tuple[Style, ...] = get_args(Style)

_NO_PART_OF_A_TAG = re.compile(r"[^A-Za-z0-9_.-]")
_LONGEST = 128
"""Characters of a tag (OCI distribution specification)."""


def tagged(image: str, style: Style, handler: Path) -> str:
    """The image's name with its tag; `latest` where it has none, then what the style adds.

    `sha`, `branch` and `describe` ask git about the current directory and append to the tag; `digest` replaces the tag by one
    that depends on the handler's files alone. Raises InvalidInput for a name with a digest, for one that no image can have, and
    where git knows nothing.
    """
    if "@" in image:
        raise InvalidInput(f"image {image!r}: names an image by its digest, which no build can make")
    name, tag = _split(image)
    parse(f"{name}:{tag}")  # also since programs are given it, which would take a dash at its beginning for an option
    if style == "digest":
        return f"{name}:{_digest(handler)}"
    if style == "sha":
        tag = f"{tag}-{_git('rev-parse', '--short', 'HEAD', style=style)}"
    elif style == "branch":
        branch = _git("rev-parse", "--abbrev-ref", "HEAD", style=style)
        tag = f"{tag}-{branch}-{_git('rev-parse', '--short', 'HEAD', style=style)}"
    elif style == "describe":
        tag = f"{tag}-{_git('describe', '--tags', '--always', style=style)}"
    tag = _NO_PART_OF_A_TAG.sub("-", tag)
    if len(tag) > _LONGEST:
        raise InvalidInput(f"--tag {style}: {tag!r} is longer than the {_LONGEST} characters that a tag may have")
    return f"{name}:{tag}"


def _split(image: str) -> tuple[str, str]:
    folder, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return f"{folder}{slash}{name}", tag or "latest"


def _digest(handler: Path) -> str:
    """MD5 over the sorted MD5s of the handler's files, as others count it."""
    sums = []
    for entry in walk(handler, what="--tag digest"):
        if entry.kind == "file":
            with open(entry.source, "rb") as file:
                sums.append(hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest())
    return hashlib.md5("".join(sorted(sums)).encode(), usedforsecurity=False).hexdigest()


def _git(*arguments: str, style: str) -> str:
    git = shutil.which("git")
    if git is None:
        raise NotSupported(f"--tag {style} asks git, which is not installed: apt-get install git")
    done = subprocess.run([git, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise InvalidInput(
            f"--tag {style} needs a git repository with a commit, and {str(Path.cwd())!r} is in none;"
            f" git says: {done.stderr.strip().splitlines()[0] if done.stderr.strip() else 'nothing'}"
        )
    return done.stdout.strip()
