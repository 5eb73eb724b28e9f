"""Bash: a look at the syntax of the scripts that bash, or a plain shell, will run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.builders.native.checks import check_file, scripts
from penstock.builders.native.work import Places, Work, find_tool

_SHELLS = ("bash", "sh", "dash")


def identity(environ: Mapping[str, str]) -> str:
    """Scripts are what they are, whichever bash runs them."""
    return ""


def make(work: Work) -> Places:
    """Check the syntax. Raises BuildFailed with bash's words."""
    bash = find_tool("bash", "bash", work.environ)
    for file in scripts(work, (".sh", ".bash")):
        text = file.read_bytes()
        if _is_ours(text):
            # Nothing is run, so that bash does not see the script turn on the patterns which change its syntax.
            options = ["-O", "extglob"] if b"extglob" in text else []
            check_file(work, [bash, *options, "-n"], file)
    return Places()


def _is_ours(text: bytes) -> bool:
    """Whether the first line asks for one of our shells, or for none."""
    line = text.partition(b"\n")[0]
    if not line.startswith(b"#!"):
        return True
    words = line[2:].decode(errors="replace").split()
    return any(Path(word).name in _SHELLS for word in words)
