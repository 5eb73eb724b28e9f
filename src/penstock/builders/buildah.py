"""The buildah builder: images without a daemon. Where this machine has an engine too, it is given what was built.

Chosen by `choose` where buildah is installed. Root of a container mostly may not make the namespaces and mounts that buildah
uses by default; what works is found out by trying, once.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from penstock.builders import watchdogimage
from penstock.builders.arguments import tell_of_unknown
from penstock.builders.choose import engine_answers
from penstock.builders.context import assemble
from penstock.builders.docker import proxies, read_dockerfile
from penstock.builders.imagewriter.auth import login_file
from penstock.builders.imagewriter.transport import is_plain
from penstock.builders.model import BuildRequest, Built, Progress
from penstock.builders.program import Programs
from penstock.builders.scratch import scratch_folder
from penstock.errors import BuildFailed, NotFound, NotSupported
from penstock.providers.containers.reference import parse
from penstock.watchdog.bundle.build import time_of

MODEST = ("--storage-driver", "vfs")
"""For machines that let us mount nothing: every layer is a copy."""
MOST_MODEST = ("--isolation", "chroot")
"""For machines without namespaces, or without a program that runs containers."""
NAMESPACES = ("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "true")
_STEP = re.compile(r"(?:\[\d+/\d+\] )?STEP \d+(?:/\d+)?: (.*)")
LOCAL = "localhost"
"""Registry of what buildah takes from a file."""
_TRIAL = "FROM scratch\nCOPY Dockerfile /\n"


class BuildahBuilder:
    """See `penstock.builders.model.ImageBuilder`."""

    name = "buildah"
    makes_images = True

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._own = dict(environ)
        """Buildah's. It insists on a file that DOCKER_CONFIG names, which Docker does without."""
        if not Path(environ.get("DOCKER_CONFIG") or "/", "config.json").is_file():
            self._own.pop("DOCKER_CONFIG", None)
        self._programs = Programs()
        self._choosing = threading.Lock()
        self._chosen: _Place | None = None

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        """Assemble the context, let buildah build it, and give it to the engine where there is one."""
        started = time.monotonic()
        context = assemble(request, self._programs.check)
        _settle(context, time_of(self._environ))
        tell_of_unknown(request, read_dockerfile(context), progress)
        given = self._watchdog(request, context, progress)
        before = self._identity(request.image)
        command = self._buildah("bud", *self._flags(request, given), "--tag", request.image, ".")
        self._programs.run(command, directory=context, environ=self._own, hear=lambda line: _tell(line, progress))
        cached = bool(before) and before == self._identity(request.image)
        self._give_to_engine(request.image, progress)
        return Built(
            function=request.function.name,
            image=request.image,
            cached=cached,
            seconds=time.monotonic() - started,
        )

    def push(self, image: str, progress: Progress) -> None:
        """`buildah push`."""
        if not self._identity(image):
            raise NotFound(f"buildah has no image {image!r}; build it first: penstock build --builder buildah")
        name = parse(image)
        flags = ["--tls-verify=false"] if is_plain(name.registry, self._environ) else []
        flags += ["--authfile", str(file)] if (file := login_file(name.registry, self._environ)) else []
        target = f"docker://{name.registry}/{name.repository}:{name.tag}"
        self._programs.run(self._buildah("push", *flags, image, target), environ=self._own, hear=progress)

    def cancel(self) -> None:
        """See `penstock.builders.model.Builder`."""
        self._programs.cancel()

    def _flags(self, request: BuildRequest, given: Mapping[str, str]) -> list[str]:
        arguments = {**proxies(self._environ), **given, **request.build_args}
        flags = ["--layers", "--format", "docker", "--force-rm"]  # that format has health checks
        flags += self._place.isolation
        flags += ["--no-cache"] if request.no_cache else []
        flags += ["--squash"] if request.squash else []
        flags += ["--pull" if request.pull else "--pull=false"]
        flags += [part for item in sorted(arguments.items()) for part in ("--build-arg", "=".join(item))]
        flags += [part for item in sorted(request.labels.items()) for part in ("--label", "=".join(item))]
        flags += ["--platform", ",".join(request.platforms)] if request.platforms else []
        secrets = sorted(request.function.build_secrets.items())
        flags += [part for name, file in secrets for part in ("--secret", f"id={name},src={file}")]
        flags += ["--ssh", "default"] if request.template and request.template.mount_ssh else []
        return flags

    def _watchdog(self, request: BuildRequest, context: Path, progress: Progress) -> dict[str, str]:
        dockerfile = read_dockerfile(context)
        if not watchdogimage.wanted(request, dockerfile):
            return {}
        reference = watchdogimage.reference()
        if not self._identity(reference):
            image = watchdogimage.provide(self._environ, progress)
            progress("giving buildah the watchdog's image")
            self._programs.run(self._buildah("pull", f"docker-archive:{image.file}"), environ=self._own)
        return {**watchdogimage.arguments(request, dockerfile), watchdogimage.ARGUMENT: f"{LOCAL}/{reference}"}

    def _give_to_engine(self, image: str, progress: Progress) -> None:
        if not engine_answers(self._environ):
            return
        progress("giving the engine the image")
        with scratch_folder(self._environ) as folder:
            archive = folder / "image.tar"
            self._programs.run(self._buildah("push", image, f"docker-archive:{archive}:{image}"), environ=self._own)
            self._programs.run(["docker", "load", "--input", str(archive)], environ=self._environ)

    def _identity(self, image: str) -> str:
        """The image's id in buildah's store; empty when it has none of that name."""
        try:
            return self._programs.run(
                self._buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", image),
                environ=self._own,
            ).strip()
        except BuildFailed as error:
            if "image not known" in error.words or "identifier is not" in error.words:
                return ""
            raise

    def _buildah(self, *arguments: str) -> list[str]:
        return ["buildah", *self._place.storage, *arguments]

    @property
    def _place(self) -> _Place:
        """What this machine lets us do. Raises NotSupported when nothing works."""
        with self._choosing:
            if self._chosen is None:
                self._chosen = _Place(self._find_storage(), self._find_isolation())
            return self._chosen

    def _find_storage(self) -> tuple[str, ...]:
        words = ""
        for storage in ((), MODEST):
            with scratch_folder(self._environ) as folder:
                (folder / "Dockerfile").write_text(_TRIAL)
                try:
                    said = self._programs.run(
                        ["buildah", *storage, "bud", "--isolation", "chroot", "--quiet", str(folder)],
                        environ=self._own,
                    )
                    image = said.strip().splitlines()[-1]
                    self._programs.run(["buildah", *storage, "rmi", image], environ=self._own)
                except BuildFailed as error:
                    words = error.words
                else:
                    return storage
        raise NotSupported(f"buildah does not work for this user on this machine; it says: {words.strip()[-300:]}")

    def _find_isolation(self) -> tuple[str, ...]:
        """Users who are not root have a default of their own that needs no more than buildah itself does."""
        path = self._environ.get("PATH")
        if os.geteuid() != 0 or self._environ.get("BUILDAH_ISOLATION"):
            return ()
        if not any(shutil.which(runtime, path=path) for runtime in ("runc", "crun")):
            return MOST_MODEST
        try:
            self._programs.run(NAMESPACES, environ=self._environ)
        except BuildFailed:
            return MOST_MODEST
        return ()


class _Place(NamedTuple):
    storage: tuple[str, ...]
    isolation: tuple[str, ...]


def _settle(context: Path, when: int) -> None:
    """Make everything equally old, whenever it was assembled: buildah's cache tells files apart by their times too."""
    for folder, folders, files in os.walk(context):
        for name in (*folders, *files):
            os.utime(os.path.join(folder, name), (when, when), follow_symlinks=False)


def _tell(line: str, progress: Progress) -> None:
    if found := _STEP.match(line):
        progress(found[1][:200])
