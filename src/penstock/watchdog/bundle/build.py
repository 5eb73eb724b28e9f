"""Makes a bundle or an image of one, from nothing to its place. The command line's way in; composes the rest of this package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import InvalidInput
from penstock.watchdog.bundle import image
from penstock.watchdog.bundle.collect import Contents, collect
from penstock.watchdog.bundle.reference import check_reference
from penstock.watchdog.bundle.rehearse import Rehearsal, rehearse
from penstock.watchdog.bundle.replace import check_directory, check_file, put_directory, workplace
from penstock.watchdog.bundle.write import PLACE, Size, entrypoint, measure, write

_LAST_SECOND = 0o77777777777
"""In the year 2242: tar has eleven octal digits for a time."""


@dataclass(frozen=True, slots=True)
class Result:
    """What was made, where it is and what it takes."""

    path: Path
    """The directory, or the image's file."""
    size: Size
    """The directory's, or that of the bundle in the image."""
    entrypoint: tuple[str, ...]
    """What starts it: in its directory, or in the image."""
    rehearsal: Rehearsal
    image: str = ""
    """Name and tag of the image."""


def make_directory(target: Path, environ: Mapping[str, str]) -> Result:
    """Make a bundle. An empty directory or an earlier bundle is replaced. Raises PenstockError, OSError."""
    target = Path(os.path.abspath(target))
    when = time_of(environ)
    check_directory(target)
    with workplace(target) as place:
        bundle = place / "bundle"
        contents, rehearsal = make_bundle(bundle, when)
        result = Result(target, measure(bundle), tuple(entrypoint(contents, str(target))), rehearsal)
        put_directory(bundle, target)
        return result


def make_image(reference: str, target: Path, environ: Mapping[str, str]) -> Result:
    """Make an image and write it as a docker-archive; a file of that name is replaced. Raises PenstockError, OSError."""
    target = Path(os.path.abspath(target))
    reference, when = check_reference(reference), time_of(environ)
    check_file(target)
    with workplace(target) as place:
        bundle, archive = place / "bundle", place / "image.tar"
        contents, rehearsal = make_bundle(bundle, when)
        start = tuple(entrypoint(contents, PLACE))
        image.write_image(image.image_of(reference, contents.machine, start, when), bundle, archive)
        archive.replace(target)
        return Result(target, measure(bundle), start, rehearsal, reference)


def time_of(environ: Mapping[str, str]) -> int:
    """The time that everything in the bundle shall have (reproducible-builds.org). Raises InvalidInput."""
    text = environ.get("SOURCE_DATE_EPOCH", "") or "0"
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= _LAST_SECOND):
        raise InvalidInput(f"SOURCE_DATE_EPOCH: {text!r} is not a number of seconds since 1970")
    return int(text)


def make_bundle(bundle: Path, when: int) -> tuple[Contents, Rehearsal]:
    """Make a bundle where nothing is, and start it once. Raises PenstockError, OSError."""
    contents = collect()
    bundle.mkdir()
    write(contents, bundle, when)
    return contents, rehearse(entrypoint(contents, str(bundle)))
