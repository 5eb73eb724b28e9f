"""What was built last of a stack file's function, so that it can be deployed without repeating the flags of its build.

    <root>/.latest/<function>/<digest of current directory and stack file>

Holds no value of a build argument, which may be a password: sources and files tell whether it is still what would be built.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import msgspec

from penstock.builders.model import BuildRequest

FOLDER = ".latest"
"""Among the builds; no function can be called that."""


class Latest(msgspec.Struct, frozen=True, kw_only=True):
    """A build, and what it was made of besides the stack file."""

    build: str
    """Name of its folder."""
    sources: str
    """Key of the same build without build arguments that the stack file does not have."""
    copy: tuple[str, ...] = ()
    """Absolute paths, those of flags and those of the stack file."""


def write(root: Path, request: BuildRequest, latest: Latest) -> None:
    """Keep it in the place of the one before."""
    if read(root, request) == latest:
        return
    path = _path(root, request)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".new-{path.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        aside.write_bytes(msgspec.json.encode(latest))
        aside.rename(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def read(root: Path, request: BuildRequest) -> Latest | None:
    """What was built last; None where nothing was, or by a version that wrote it differently."""
    try:
        return msgspec.json.decode(_path(root, request).read_bytes(), type=Latest)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _path(root: Path, request: BuildRequest) -> Path:
    function = request.function
    place = "\0".join((str(Path.cwd()), function.where.file))
    return root / FOLDER / function.name / hashlib.sha256(place.encode()).hexdigest()[:40]
