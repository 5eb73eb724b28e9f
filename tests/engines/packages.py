"""Images of single programs of Debian packages, which are downloaded and unpacked, but not installed, and have no system around them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.watchdog.bundle.elf import is_elf
from penstock.watchdog.bundle.libraries import ask, loader_of
from tests.conftest import debian_path
from tests.engines.engine import Engine
from tests.engines.images import ImageFailed, Root, import_root


@contextmanager
def unpacked(*packages: str) -> Iterator[Path]:
    """A folder with the files of these packages, for as long as the context lasts. Raises ImageFailed."""
    folder = Path(tempfile.mkdtemp(prefix="pk-"))
    try:
        (folder / "root").mkdir()
        _run(folder, "apt-get", "download", *packages)
        for package in folder.glob("*.deb"):
            _run(folder, "dpkg-deb", "--extract", package.name, "root")
        yield folder / "root"
    finally:
        shutil.rmtree(folder)


def import_program(engine: Engine, tag: str, root: Path, *names: str) -> str:
    """Give the engine an image of these files below the root, with the libraries that programs among them have on this machine.

    It starts the first. The tag.
    """
    image = Root()
    image.folder("tmp")
    programs = [root / name for name in names if is_elf((root / name).read_bytes())]
    needed = {path for program in programs for path in ask(loader_of(program))(program).values()}
    for path in sorted(needed | {loader_of(program) for program in programs}):
        image.add(str(path).lstrip("/"), path.read_bytes())
    for name in names:
        image.add(name, (root / name).read_bytes())
    return import_root(engine, tag, image.packed(), [f'ENTRYPOINT ["/{names[0]}"]'])


def _run(folder: Path, *command: str) -> None:
    environ = {**os.environ, "PATH": debian_path(), "LC_ALL": "C"}
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environ, check=False)
    except FileNotFoundError as error:
        raise ImageFailed(f"{command[0]} not found") from error
    if done.returncode != 0:
        raise ImageFailed(f"{' '.join(command)}: {done.stderr[-2000:]}")
