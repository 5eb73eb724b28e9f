"""A folder for the files of one step of a build, beside the builds, since the one for temporary files may be a small one in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from penstock.builders.native.store import builds_root

FOLDER = ".tmp-images"
"""Among the builds; no function can be called that."""


@contextmanager
def scratch_folder(environ: Mapping[str, str]) -> Iterator[Path]:
    """Empty, and gone afterwards with all that is in it. Raises OSError."""
    parent = builds_root(environ) / FOLDER
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent) as name:
        yield Path(name)
