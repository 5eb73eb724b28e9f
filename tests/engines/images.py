"""Images that need no registry: a static busybox, a minimal Debian of the machine's own suite and mirror, or any files at all.

As a program it makes the Debians that are not there yet, which takes minutes, so that no test has to wait for them.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from penstock.watchdog.bundle.elf import read_elf
from tests.conftest import debian_path
from tests.engines.engine import Engine

APPLETS = ("sh", "env", "cat", "sleep", "kill", "id", "echo", "true", "false", "ls", "head", "wget", "nc", "httpd")
OF_EXAMPLES = ("figlet", "jq", "python3", "python3-aiohttp")
"""Debian's packages that the bundled examples need in containers."""
FIND_MIRROR = "$(RELEASE) $(COMPONENT) $(REPO_URI)"


class ImageFailed(Exception):
    """An image cannot be made on this machine; the message says why."""


class Root:
    """The files of an image."""

    def __init__(self) -> None:
        self._data = io.BytesIO()
        self._archive = tarfile.open(fileobj=self._data, mode="w")  # noqa: SIM115 - closed by `packed`

    def add(self, name: str, data: bytes, mode: int = 0o755) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = len(data), mode
        self._archive.addfile(entry, io.BytesIO(data))

    def link(self, name: str, target: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = tarfile.SYMTYPE, target
        self._archive.addfile(entry)

    def folder(self, name: str) -> None:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
        self._archive.addfile(entry)

    def packed(self) -> bytes:
        self._archive.close()
        return self._data.getvalue()


def busybox_root() -> Root:
    """Nothing but a static busybox, a place for the bundle, and the name that images start their watchdog by."""
    found = shutil.which("busybox", path=debian_path())
    assert found is not None
    busybox = Path(found).read_bytes()
    assert not read_elf(busybox).interpreter, f"{found} needs libraries; enable with: apt-get install busybox-static"
    root = Root()
    root.add("bin/busybox", busybox)
    for name in APPLETS:
        root.link(f"bin/{name}", "busybox")
    for name in ("tmp", "penstock"):
        root.folder(name)
    root.link("usr/bin/fwatchdog", "/penstock/fwatchdog")
    return root


def import_busybox(engine: Engine, tag: str = "busybox:it", changes: Sequence[str] = ()) -> str:
    """Give the engine an image of `busybox_root`; `changes` are lines of a Dockerfile. The tag."""
    return import_root(engine, tag, busybox_root().packed(), changes)


def import_debian(engine: Engine, tag: str = "debian:12", changes: Sequence[str] = ()) -> str:
    """Give the engine an image of a minimal Debian. The tag. Raises ImageFailed."""
    return import_root(engine, tag, debian_tar().read_bytes(), changes)


def import_root(engine: Engine, tag: str, files: bytes, changes: Sequence[str] = ()) -> str:
    """Give the engine an image of a tar of files. The tag."""
    given = [part for change in changes for part in ("--change", change)]
    engine.docker("import", *given, "-", tag, data=files)
    return tag


def debian_tar(include: tuple[str, ...] = ()) -> Path:
    """The root of a minimal Debian of the machine's suite, with these packages and what they need.

    The first call makes it by debootstrap, which takes minutes; later ones, in any process, find it. Raises ImageFailed.
    """
    suite = _suite()
    packages = ",".join(sorted(include))
    key = hashlib.sha256(packages.encode()).hexdigest()[:12]
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"debian-{suite}-{os.uname().machine}-{key}.tar"
    with (folder / "debian.lock").open("w") as lock:  # one for all, which have most of what is downloaded in common
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _debootstrap(suite, packages, kept)
    return kept


def _cache() -> Path:
    chosen = os.environ.get("PENSTOCK_TEST_CACHE", "")
    return Path(chosen) if chosen else Path.home() / ".cache" / "penstock"


def _suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise ImageFailed("/etc/os-release names no suite of Debian")


def _mirror(suite: str) -> str:
    """Where the machine's own packages come from."""
    for line in _run("apt-get", "indextargets", "--format", FIND_MIRROR, "Created-By: Packages").splitlines():
        release, component, uri = line.split(" ", 2)
        if (release, component) == (suite, "main"):
            return uri
    raise ImageFailed(f"apt's sources have no main section of {suite}")


def _debootstrap(suite: str, packages: str, target: Path) -> None:
    workshop = Path(tempfile.mkdtemp(prefix="pd-"))
    downloads = target.parent / "debian-packages"
    downloads.mkdir(exist_ok=True)
    try:
        chosen = [f"--cache-dir={downloads}", *([f"--include={packages}"] if packages else [])]
        _run("debootstrap", "--variant=minbase", *chosen, suite, str(workshop / "root"), _mirror(suite))
        for downloaded in (workshop / "root" / "var").glob("cache/apt/archives/*.deb"):
            downloaded.unlink()
        made = target.with_suffix(".part")
        _run("tar", "-C", str(workshop / "root"), "--numeric-owner", "-cf", str(made), ".")
        made.rename(target)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _run(*command: str) -> str:
    environ = {**os.environ, "PATH": debian_path(), "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env=environ, stdin=subprocess.DEVNULL, check=False
        )
    except FileNotFoundError as error:
        raise ImageFailed(f"{command[0]} not found") from error
    if done.returncode != 0:
        raise ImageFailed(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def main() -> None:
    """Make them where this user may; otherwise the tests that need them say what is missing."""
    if os.geteuid() == 0 and shutil.which("debootstrap", path=debian_path()):
        try:
            for packages in ((), OF_EXAMPLES):
                debian_tar(packages)
        except ImageFailed as error:
            sys.exit(f"a Debian for tests cannot be made yet: {error}")


if __name__ == "__main__":
    main()
