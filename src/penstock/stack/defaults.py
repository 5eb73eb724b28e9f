"""Which file is the stack file where none is named. Imports next to nothing, so that quick commands can ask."""

from __future__ import annotations

import os

DEFAULT_FILES = ("stack.yaml", "stack.yml")
"""Looked for in this order when no file is named."""


def default_file(directory: str | os.PathLike[str]) -> str | None:
    """The name of the stack file in `directory`; None when there is none."""
    return next((name for name in DEFAULT_FILES if os.path.isfile(os.path.join(directory, name))), None)
