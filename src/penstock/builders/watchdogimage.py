"""The watchdog's image as templates' Dockerfiles name it: made once of this installation, and kept as a file beside the builds.

Each builder of images gives it to whatever it builds with. Its tag changes with every source of Penstock, Python and what the
watchdog imports, so that an upgrade reaches functions at their next build.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import msgspec

import penstock
from penstock.builders.arguments import takes
from penstock.builders.model import BuildRequest, Progress
from penstock.builders.native.store import builds_root
from penstock.errors import NotSupported
from penstock.watchdog.bundle.archive import ARCHITECTURES
from penstock.watchdog.bundle.build import make_image

ARGUMENT = "WATCHDOG"
"""Build argument by which Dockerfiles take the image's name."""
NAME = "penstock-watchdog"
FOLDER = ".watchdog"
"""Among the builds; no function can be called that."""

PYTHON = "PYTHON_VERSION"
"""Build argument by which our templates' Dockerfiles take the version of Python that runs handlers, which is the watchdog's own."""

_making = threading.Lock()


class WatchdogImage(msgspec.Struct, frozen=True):
    """The image, as a docker-archive."""

    reference: str
    file: Path


def wanted(request: BuildRequest, dockerfile: str) -> bool:
    """Whether a Dockerfile takes the watchdog's image as an argument, and nobody has given another one.

    Raises NotSupported when it is for other machines than this one, for which we have no watchdog.
    """
    if ARGUMENT in request.build_args or not takes(dockerfile, ARGUMENT):
        return False
    others = [platform for platform in request.platforms if platform != machine()]
    if others:
        raise NotSupported(
            f"the watchdog of this installation is for {machine()}, not for {', '.join(others)}; name an image of it that is:"
            f" --build-arg {ARGUMENT}=registry.example.com/penstock-watchdog"
        )
    return True


def arguments(request: BuildRequest, dockerfile: str) -> dict[str, str]:
    """What a build is given where our image is `wanted`: its name, and in our own templates the Python that it has."""
    ours = request.template is not None and request.template.shipped and takes(dockerfile, PYTHON)
    version = {PYTHON: f"{sys.version_info.major}.{sys.version_info.minor}"} if ours else {}
    return {ARGUMENT: reference(), **version}


def machine() -> str:
    """This machine's platform, in Go's names."""
    kind = os.uname().machine
    return f"linux/{ARCHITECTURES.get(kind, kind)}"


def reference() -> str:
    """Name and tag of the image that this installation makes."""
    return f"{NAME}:{re.sub('[^A-Za-z0-9_.-]', '-', penstock.__version__)}-{_stamp()[:12]}"


def provide(environ: Mapping[str, str], progress: Progress) -> WatchdogImage:
    """The image; made now, in a few seconds, where it is not there yet. Raises PenstockError, OSError."""
    folder = builds_root(environ) / FOLDER
    image = WatchdogImage(reference(), folder / f"{_stamp()}.tar")
    with _making:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(folder / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not image.file.exists():
                progress("packing the watchdog, once for this version of Penstock")
                make_image(image.reference, image.file, {})
                _forget_others(folder, image.file)
    return image


def _forget_others(folder: Path, kept: Path) -> None:
    """Remove the images of earlier versions, and what a build that was killed has left."""
    for path in folder.iterdir():
        if path.name in ("lock", kept.name):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


@functools.cache
def _stamp() -> str:
    """SHA-256 of all that decides what the image holds: our sources, the interpreter and the packages that are installed."""
    total = hashlib.sha256()
    package = Path(penstock.__file__).parent
    facts = [penstock.__version__, platform.python_version(), platform.machine()]
    facts += sorted({f"{each.name} {each.version}" for each in importlib.metadata.distributions()})
    total.update("\n".join(facts).encode())
    for path in sorted(package.rglob("*")):
        if path.is_file() and (path.suffix in (".py", ".so") or path.parent.name == "launcher"):
            total.update(f"\n{path.relative_to(package)} {os.path.getsize(path)}\n".encode())
            total.update(path.read_bytes())
    return total.hexdigest()
