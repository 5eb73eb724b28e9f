"""Makes the image, from nothing to its place or to a stream. The command line's way in; composes the rest of this package."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import penstock
from penstock.errors import NotSupported, PenstockError
from penstock.image.contents import certificates, collect_all, missing
from penstock.image.layout import CERTIFICATES, FOLDERS, GATEWAY, HOME, USER, lay_out
from penstock.settings import Home
from penstock.watchdog.bundle.archive import Image, write_archive
from penstock.watchdog.bundle.build import make_bundle, time_of
from penstock.watchdog.bundle.collect import Contents
from penstock.watchdog.bundle.image import labels
from penstock.watchdog.bundle.reference import check_reference
from penstock.watchdog.bundle.rehearse import Part, Rehearsal, rehearse
from penstock.watchdog.bundle.replace import check_file, workplace
from penstock.watchdog.bundle.tar import write_layer
from penstock.watchdog.bundle.write import PLACE, entrypoint

HEALTH_INTERVAL = 10
"""Seconds. Each check starts an interpreter, which takes about a tenth of a second of one processor."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be made."""

    reference: str
    """Name and tag."""
    form: str = "docker"
    """One of `archive.FORMATS`."""
    when: int = 0
    """Seconds since 1970 at which everything in it was made."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was made and what it takes."""

    image: str
    """Name and tag."""
    form: str
    archive_bytes: int
    layer_bytes: int
    """What the files take in an engine, each of them once."""
    gateway: Rehearsal
    watchdog: Rehearsal
    certificates: Path | None
    """Where the trusted authorities were taken from."""
    missing: tuple[str, ...]
    """Optional packages that are not installed here, and so are not in the image."""


def request(reference: str, form: str, environ: Mapping[str, str]) -> Request:
    """A request whose parts hold together. Raises InvalidInput."""
    return Request(check_reference(reference), form, time_of(environ))


def make_file(wanted: Request, target: Path) -> Result:
    """Make the image and put it where a file may be, which it replaces. Raises PenstockError."""
    target = Path(os.path.abspath(target))
    check_file(target)
    with _translated(target.parent), workplace(target) as place:
        result = _make(wanted, place)
        (place / "image").replace(target)
        return result


def write_stream(wanted: Request, stream: BinaryIO) -> Result:
    """Make the image in the directory for temporary files and write it to the stream. Raises PenstockError, BrokenPipeError."""
    with _translated(Path(tempfile.gettempdir())), tempfile.TemporaryDirectory(prefix="penstock-image-") as place:
        result = _make(wanted, Path(place))
        with open(Path(place) / "image", "rb") as file, _translated(Path("standard output")):
            shutil.copyfileobj(file, stream, 1 << 20)
            stream.flush()
        return result


def image_of(wanted: Request, machine: str) -> Image:
    """What the image says of itself."""
    start = f"{GATEWAY.place}/{GATEWAY.names[0]}"
    return Image(
        wanted.reference,
        machine,
        wanted.when,
        made_by=f"penstock image build {penstock.__version__}",
        labels=labels("Penstock", "Any program that reads stdin and writes stdout becomes an HTTP function"),
        entrypoint=(start,),
        command=("serve",),
        health=(start, "health"),
        interval=HEALTH_INTERVAL,
        user=str(USER),
        environ={
            "HOME": HOME,
            "PENSTOCK_HOME": HOME,
            "PENSTOCK_HOST": "0.0.0.0",  # noqa: S104 - nobody reaches a container's loopback
            "SSL_CERT_FILE": CERTIFICATES,
        },
        ports=(8080, 8082),
        volumes=(HOME,),
    )


def _make(wanted: Request, place: Path) -> Result:
    """Make everything in the empty directory, the archive under the name `image`."""
    if sys.platform != "linux":
        raise NotSupported(f"an image is made of the Linux that it is made on, and this is {sys.platform}")
    root, layer, archive = place / "root", place / "layer", place / "image"
    root.mkdir()
    contents, authorities = collect_all(), certificates()
    _check_launcher(contents)
    watchdog, watchdog_rehearsal = make_bundle(root / PLACE.strip("/"), wanted.when)
    lay_out(root, watchdog, contents, authorities, wanted.when)
    gateway_rehearsal = _rehearse(contents, root, place / "home")
    write_layer(layer, wanted.when, {"": root}, FOLDERS)
    shutil.rmtree(root)  # the disk need not hold it three times
    write_archive(image_of(wanted, contents.machine), layer, archive, wanted.form)
    return Result(
        wanted.reference,
        wanted.form,
        archive.stat().st_size,
        layer.stat().st_size,
        gateway_rehearsal,
        watchdog_rehearsal,
        authorities,
        missing(),
    )


def _check_launcher(contents: Contents) -> None:
    if contents.launcher is None:
        raise NotSupported(
            f"there is no launcher for {contents.machine}, and without it nothing starts in an image of ours; "
            "build one with the Dockerfile instead"
        )


def _rehearse(contents: Contents, root: Path, home: Path) -> Rehearsal:
    """Start the gateway once, on free ports of this machine's loopback and with a provider that runs nothing."""
    home.mkdir(mode=0o700)
    settings = {
        "HOME": str(home),
        "PENSTOCK_HOME": str(home),
        "PENSTOCK_HOST": "127.0.0.1",
        "PENSTOCK_PORT": "0",
        "PENSTOCK_METRICS_PORT": "0",
        "PENSTOCK_PROVIDER": "memory",
    }
    command = entrypoint(contents, str(root / GATEWAY.place.strip("/")), GATEWAY)
    try:
        return rehearse([*command, "serve"], Part(settings, b"Penstock is ready", signal.SIGTERM))
    finally:
        shutil.rmtree(Home(home).run, ignore_errors=True)  # it is elsewhere when the target's path is long


@contextlib.contextmanager
def _translated(where: Path) -> Iterator[None]:
    """Say what could not be done where, when the file system refuses it."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise PenstockError(
                f"{where}: {error.strerror}; an image takes about 250 MiB while it is made, choose another place"
            ) from error
        raise PenstockError(f"an image cannot be written to {where}: {error.strerror or error}") from error
