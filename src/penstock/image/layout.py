"""Lays out the image's root: the watchdog's bundle, the gateway's beside it, and the few files of a system that both need.

Called by `build`. Files that both bundles have are one file with two names (hard links), which a layer holds once; still each
bundle is complete, so that the watchdog's can be mounted or copied by itself.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from penstock.watchdog.bundle.collect import Contents
from penstock.watchdog.bundle.image import TEMPORARY
from penstock.watchdog.bundle.tar import Folder
from penstock.watchdog.bundle.write import Kind, write

GATEWAY = Kind("/opt/penstock", ("penstock",), "penstock")
HOME = "/var/lib/penstock"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
USER = 12000

FOLDERS = (
    Folder("run"),
    TEMPORARY,
    Folder("var/lib"),
    Folder(HOME.strip("/"), 0o770, USER),
)
"""Besides those that files are in. A user that is given by its number alone is in group 0 (Docker, OpenShift): so any user may
write to the home."""

FILES = {
    "etc/passwd": f"root:x:0:0:root:/root:/sbin/nologin\npenstock:x:{USER}:{USER}:Penstock:{HOME}:/sbin/nologin\n",
    "etc/group": f"root:x:0:\npenstock:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
LINKS = {"usr/local/bin/penstock": f"{GATEWAY.place}/penstock", "var/run": "/run"}


def lay_out(root: Path, watchdog: Contents, gateway: Contents, authorities: Path | None, when: int) -> None:
    """Add to the root, in which the watchdog's bundle is already, everything else. Raises OSError, PenstockError."""
    target = root / GATEWAY.place.strip("/")
    target.mkdir(parents=True)
    own, shared = divide(gateway, watchdog)
    write(own, target, when, GATEWAY)
    for place in shared:
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        os.link(root / "penstock" / place, target / place)
    for name, text in FILES.items():
        _put(root / name, text.encode())
    if authorities is not None:
        _put(root / CERTIFICATES.strip("/"), authorities.read_bytes())
    for name, place in LINKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(place)


def divide(gateway: Contents, watchdog: Contents) -> tuple[Contents, tuple[str, ...]]:
    """What only the gateway has, and the places of what is the same in both."""
    own: list[dict[str, Path]] = []
    shared: list[str] = []
    for mine, theirs in (
        (gateway.bytecode, watchdog.bytecode),
        (gateway.binaries, watchdog.binaries),
        (gateway.texts, watchdog.texts),
    ):
        same = _same(mine, theirs)
        own.append({place: path for place, path in mine.items() if place not in same})
        shared += same
    rest = Contents(gateway.machine, own[0], own[1], own[2], gateway.loader, gateway.distributions)
    return rest, tuple(sorted(shared))


def _same(mine: Mapping[str, Path], theirs: Mapping[str, Path]) -> set[str]:
    return {place for place, path in mine.items() if theirs.get(place) == path}


def _put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(0o644)
