"""The programs of Kubernetes, compiled from Debian's source package and kept in the tests' cache.

Debian has no binaries of the servers. As a program this makes them where they are missing, so that no test has to wait for them:
about six minutes of two processors, and three gigabytes below the cache, which are gone afterwards.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import CACHE, PACKAGES, debian_path, missing_services

VERSION = "1.20.2"
"""Of the source package in SUITE; it is the last that lets Docker run the pods, and speaks the oldest API that we support."""
SUITE = "bookworm"
SOURCE = "kubernetes"
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
NEEDED = ("go", "make", "rsync", "jq", "dpkg-source")
"""Programs that its makefile, or its unpacking, needs."""
REFLECT = Path("/usr/share/gocode/src/github.com/modern-go/reflect2")
"""The library that Debian has mended for its compiler: the one in the source package crashes with it."""
REFLECT_PACKAGE = "golang-github-modern-go-reflect2-dev"
FIND_MIRROR = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
DEADLINE = 3600
"""Seconds that any step may take."""


class BuildFailed(Exception):
    """It cannot be compiled on this machine; the message says why."""


def programs() -> Path:
    """The folder with PROGRAMS, which the first call compiles, whoever makes it. Raises BuildFailed."""
    cache = Path(os.environ.get(CACHE) or Path.home() / ".cache" / "penstock")
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / f"kubernetes-{VERSION}-{os.uname().machine}"
    with (cache / f"{kept.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _build(kept)
    return kept


def absentees() -> list[str]:
    """Debian's packages that this machine lacks for the build."""
    missing = {PACKAGES.get(name, name) for name in missing_services(NEEDED)}
    return sorted(missing | (set() if REFLECT.exists() else {REFLECT_PACKAGE}))


def _build(kept: Path) -> None:
    if missing := absentees():
        raise BuildFailed(f"Kubernetes is compiled once; enable with: apt-get install {' '.join(missing)}")
    if "go1.19" not in _run(["go", "version"], kept.parent, {}):
        raise BuildFailed(f"Kubernetes {VERSION} needs Go 1.19, which Debian {SUITE} has")
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="kubernetes-") as made:
        place = Path(made)
        source = place / "go/src/k8s.io/kubernetes"
        source.parent.mkdir(parents=True)
        _fetch(place).rename(source)
        _mend(source)
        # In a cache of its own, which goes: what Go keeps of this is ten times as much as of all the tests' programs.
        environ = {"GOPATH": f"{place}/go", "GOCACHE": f"{place}/cache", "GO111MODULE": "off", "CGO_ENABLED": "0"}
        wanted = " ".join(f"cmd/{name}" for name in PROGRAMS)
        options = [f"WHAT={wanted}", "GOLDFLAGS=-s -w", f"KUBE_BUILD_PLATFORMS=linux/{_architecture()}"]
        _run(["make", *options], source, environ)
        ready = place / "ready"
        ready.mkdir()
        for name in PROGRAMS:
            (source / f"_output/local/bin/linux/{_architecture()}" / name).rename(ready / name)
        _make_removable(place)
        ready.rename(kept)


def _fetch(place: Path) -> Path:
    """The unpacked source package; nothing of the machine's own apt is changed."""
    lines = [
        f"deb-src {where} {release} main"
        for line in _run(
            ["apt-get", "indextargets", "--format", FIND_MIRROR, "Created-By: Packages"], place, {}
        ).splitlines()
        for release, component, where in [line.split(" ", 2)]
        if component == "main" and release in (SUITE, f"{SUITE}-security")
    ]
    if not lines:
        raise BuildFailed(
            f"apt's sources have no main section of {SUITE}, which has the source of Kubernetes {VERSION}"
        )
    (place / "sources.list").write_text("\n".join(sorted(set(lines))) + "\n")
    (place / "lists/partial").mkdir(parents=True)
    own = {"Dir::Etc::sourcelist": "sources.list", "Dir::State::lists": "lists", "Dir::Cache": "cache-of-apt"}
    options = [part for name, value in own.items() for part in ("-o", f"{name}={place}/{value}")]
    options += ["-o", "Dir::Etc::sourceparts=/dev/null", "-o", "APT::Sandbox::User=root"]
    _run(["apt-get", *options, "update", "-q"], place, {})
    _run(["apt-get", *options, "source", "-q", SOURCE], place, {})
    found = [folder for folder in place.glob(f"{SOURCE}-*") if folder.is_dir()]
    if len(found) != 1 or VERSION not in next(iter(place.glob("*.dsc"))).name:
        raise BuildFailed(f"Debian {SUITE} has another Kubernetes than {VERSION}: {sorted(map(str, found))}")
    return found[0]


def _mend(source: Path) -> None:
    """Give it Debian's reflect2 in place of its own."""
    own = source / "vendor/github.com/modern-go/reflect2"
    for pattern in ("*.go", "*.s"):
        for file in own.glob(pattern):
            file.unlink()
        for file in REFLECT.glob(pattern):
            if not file.name.endswith("_test.go"):
                shutil.copy(file, own)


def _architecture() -> str:
    """By Go's name."""
    machine = os.uname().machine
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)


def _make_removable(place: Path) -> None:
    """Go writes some of its folders so that nobody can remove what is in them."""
    for folder, names, _ in os.walk(place):
        for name in names:
            path = Path(folder, name)
            if not path.is_symlink():
                path.chmod(0o755)


def _run(command: list[str], place: Path, environ: Mapping[str, str]) -> str:
    # The makefile asks git for a version, and would find the tree that the cache may be in.
    own = {**os.environ, "PATH": debian_path(), "LC_ALL": "C", "GIT_CEILING_DIRECTORIES": str(place.parent), **environ}
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        try:
            done = subprocess.run(
                command,
                cwd=place,
                env=own,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                check=False,
                timeout=DEADLINE,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BuildFailed(f"{command[0]}: {error}") from error
        said.seek(0)
        text = said.read()
    if done.returncode != 0:
        raise BuildFailed(f"{' '.join(command)}: {re.sub(chr(27) + '[^m]*m', '', text)[-3000:]}")
    return text


def main() -> None:
    """Make them where this user may start clusters; otherwise the tests that need them say what is missing."""
    if os.geteuid() == 0 and not absentees():
        try:
            programs()
        except BuildFailed as error:
            sys.exit(f"Kubernetes for tests cannot be made yet: {error}")


if __name__ == "__main__":
    main()
