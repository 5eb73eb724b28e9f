"""Decides what the gateway's part of the image holds: all of Penstock with everything that it imports, and certificates.

Called by `build`. Only looks; `layout` copies.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path

import penstock
from penstock.watchdog.bundle.collect import LIBRARY, Contents, collect
from penstock.watchdog.bundle.trace import Scope

OPTIONAL = ("aiodocker", "httpx2", "obstore")
"""What the extras `docker`, `kubernetes` and `s3` bring."""

ALL = Scope("penstock", ("penstock",), ("penstock.testing",), (*OPTIONAL, "httpcore2"), late=("httpcore2",))
"""Everything but what tests are made of. httpx2 imports httpcore2 late."""

CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where Debian, Fedora, SUSE and Alpine keep the authorities that they trust."""

_NOT_DATA = {"__pycache__", "_examples", "testing", "launcher"}
_CODE = {".py", ".pyc", ".so"}
_AS_IT_IS = {Path("templates", "shipped"), Path("functionstore", "source")}
"""Where also Python sources are data: what new functions begin with, and those of the store."""


def collect_all() -> Contents:
    """Everything of the gateway's bundle. Raises NotSupported, NotFound, PenstockError."""
    contents = collect(ALL)
    read = {**contents.texts, **dict(data(Path(penstock.__file__).parent)), **dict(metadata(contents.distributions))}
    return dataclasses.replace(contents, texts=read)


def data(package: Path) -> Iterator[tuple[str, Path]]:
    """Files that the package reads as they are, such as the REST API's description, by their places in the bundle."""
    for path in sorted(package.rglob("*")):
        below = path.relative_to(package)
        code = path.suffix in _CODE and _AS_IT_IS.isdisjoint(below.parents)
        if path.is_file() and not code and not _NOT_DATA & set(below.parts):
            yield f"{LIBRARY}/{package.name}/{below}", path


def metadata(distributions: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """What libraries ask for their own version, some as soon as they are imported."""
    for name in distributions:
        for file in importlib.metadata.distribution(name).files or ():
            if file.name == "METADATA" and file.parent.name.endswith(".dist-info"):
                yield f"{LIBRARY}/{file.parent.name}/{file.name}", Path(str(file.locate()))


def missing() -> tuple[str, ...]:
    """What is optional and not installed here."""
    return tuple(name for name in OPTIONAL if importlib.util.find_spec(name) is None)


def certificates(places: Iterable[str] = CERTIFICATES) -> Path | None:
    """This machine's trusted authorities, which may include its own; else those of certifi, where it is installed."""
    usual = ssl.get_default_verify_paths().cafile
    for place in ([usual] if usual else []) + list(places):
        if Path(place).is_file():
            return Path(place)
    spec = importlib.util.find_spec("certifi")
    bundled = Path(spec.origin).with_name("cacert.pem") if spec and spec.origin else None
    return bundled if bundled and bundled.is_file() else None
