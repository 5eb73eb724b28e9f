"""No toolchain: what was assembled is what runs."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.builders.native.work import Places, Work


def identity(environ: Mapping[str, str]) -> str:
    """There is nothing whose version could matter."""
    return ""


def make(work: Work) -> Places:
    """There is nothing to do."""
    return Places()
