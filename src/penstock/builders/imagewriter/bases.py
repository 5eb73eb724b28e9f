"""Where a stage's base image comes from: a file, what was built here before, the engine, or a registry. In this order.

Called by `interpret` through `builder`. A base that was fetched once is used again until `--pull`, as engines do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from penstock.builders.choose import engine_answers
from penstock.builders.imagewriter.archives import read_archive
from penstock.builders.imagewriter.image import Image
from penstock.builders.imagewriter.interpret import Platform
from penstock.builders.imagewriter.registry import Registry
from penstock.builders.imagewriter.store import Store
from penstock.builders.model import Progress
from penstock.builders.program import Programs
from penstock.builders.scratch import scratch_folder
from penstock.core.shown import shown
from penstock.errors import BuildFailed, NotFound
from penstock.providers.containers.reference import parse

ARCHIVES = ("docker-archive:", "oci-archive:")
"""Beginnings of names that are paths, as skopeo and buildah write them."""


class Bases:
    """See `penstock.builders.imagewriter.interpret.Bases`. One build's."""

    def __init__(
        self,
        environ: Mapping[str, str],
        store: Store,
        registry: Registry,
        programs: Programs,
        files: Mapping[str, Path],
    ) -> None:
        """`files` are archives by the names of the images in them."""
        self._environ = environ
        self._store = store
        self._registry = registry
        self._programs = programs
        self._files = files
        self.pull = False
        """Whether to look for newer ones."""

    def find(self, reference: str, platform: Platform, progress: Progress) -> Image:
        """The image of a name, with all blobs in the store. Raises NotFound, BuildFailed, NotSupported, Unauthorized."""
        if reference in self._files:
            return self._read(self._files[reference])
        for kind in ARCHIVES:
            if reference.startswith(kind):
                return self._fitting(self._read(Path(reference.removeprefix(kind))), platform, reference)
        name = parse(reference)
        built = self._store.find(str(name))
        if built is not None and self._fits(built, platform):
            return built
        if not self.pull:
            kept = self._of_engine(reference, platform, progress) or self._store.find(f"base {name} {platform}")
            if kept is not None:
                return kept
        image = self._registry.pull(name, platform, progress)
        self._store.name(f"base {name} {platform}", self._fitting(image, platform, reference))
        return image

    def _read(self, path: Path) -> Image:
        """An archive, which is read once as long as it stays the same."""
        try:
            status = path.stat()
        except FileNotFoundError as error:
            raise NotFound(f"there is no archive {str(path)!r}") from error
        key = f"archive {path.absolute()} {status.st_mtime_ns} {status.st_size}"
        image = self._store.find(key)
        if image is None:
            image = read_archive(path, self._store)
            self._store.name(key, image)
        return image

    def _of_engine(self, reference: str, platform: Platform, progress: Progress) -> Image | None:
        """The engine's own image of that name, if there is an engine that has one."""
        if not engine_answers(self._environ):
            return None
        asked = ["docker", "image", "inspect", "--format", "{{.Id}} {{.Os}} {{.Architecture}}", reference]
        try:
            identity, system, architecture = self._programs.run(asked, environ=self._environ).split()
        except BuildFailed as error:
            if "No such image" in error.words:
                return None
            raise
        if (system, architecture) != (platform.os, platform.architecture):
            return None
        image = self._store.find(f"engine {identity}")
        if image is None:
            progress(f"taking {reference} from the engine")
            with scratch_folder(self._environ) as folder:
                archive = folder / "image.tar"
                self._programs.run(["docker", "save", "--output", str(archive), reference], environ=self._environ)
                image = read_archive(archive, self._store)
            self._store.name(f"engine {identity}", image)
        return image

    def _fitting(self, image: Image, platform: Platform, reference: str) -> Image:
        if not self._fits(image, platform):
            system, machine = (str(image.config.get(key))[:40] for key in ("os", "architecture"))
            raise NotFound(f"{reference} is for {shown(system)}/{shown(machine)}, and {platform} is wanted")
        return image

    @staticmethod
    def _fits(image: Image, platform: Platform) -> bool:
        return (image.config.get("os"), image.config.get("architecture")) == (platform.os, platform.architecture)
