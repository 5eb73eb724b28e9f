"""The image writer: builds images of Dockerfiles that run nothing, with neither an engine nor a daemon nor root.

Chosen by `choose` where there is nothing else. Images stay in a store beside the builds, from where they are pushed; where this
machine has an engine, it is given them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from penstock.builders import watchdogimage
from penstock.builders.arguments import tell_of_unknown
from penstock.builders.choose import engine_answers
from penstock.builders.context import assemble
from penstock.builders.docker import proxies, read_dockerfile
from penstock.builders.imagewriter.archives import write_archive
from penstock.builders.imagewriter.bases import Bases
from penstock.builders.imagewriter.copying import Context
from penstock.builders.imagewriter.dockerfile import parse as parse_dockerfile
from penstock.builders.imagewriter.image import Image
from penstock.builders.imagewriter.interpret import Circumstances, Interpreter, Platform, parse_platform
from penstock.builders.imagewriter.registry import Registry
from penstock.builders.imagewriter.store import Store
from penstock.builders.model import BuildRequest, Built, Progress
from penstock.builders.program import Programs
from penstock.builders.scratch import scratch_folder
from penstock.errors import InvalidInput, NotFound, NotSupported
from penstock.providers.containers.reference import parse
from penstock.watchdog.bundle.build import time_of


class ImageWriter:
    """See `penstock.builders.model.ImageBuilder`. May be used by several threads."""

    name = "image"
    makes_images = True

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._store = Store(environ)
        self._registry = Registry(environ, self._store)
        self._programs = Programs()

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        """Write the image into the store, and give it to the engine where there is one."""
        started = time.monotonic()
        name = str(parse(request.image))
        if request.function.build_secrets:
            raise NotSupported(f"function {request.function.name!r} has build secrets, which only RUN could use")
        image = self._interpret(request, progress)
        before = self._store.named(name)
        cached = self._store.name(name, image) == before
        self._give_to_engine(request.image, image, cached, progress)
        self._store.prune()
        return Built(
            function=request.function.name, image=request.image, cached=cached, seconds=time.monotonic() - started
        )

    def push(self, image: str, progress: Progress) -> None:
        """Send an image from the store to its registry."""
        name = parse(image)
        digest = self._registry.push(name, self._kept(image), progress)
        progress(f"pushed {name}: {digest}")

    def save(self, image: str, file: Path) -> None:
        """See `penstock.builders.model.Archiver`."""
        kept = self._kept(image)
        with tempfile.TemporaryDirectory(prefix=".saving-", dir=file.parent) as beside:
            archive = Path(beside, "image.tar")
            write_archive(str(parse(image)), kept, self._store, archive, time_of(self._environ))
            archive.replace(file)

    def _kept(self, image: str) -> Image:
        kept = self._store.find(str(parse(image)))
        if kept is None:
            raise NotFound(f"the image writer has no image {image!r}; build it first: penstock build --builder image")
        return kept

    def publish(self, request: BuildRequest, names: Sequence[str], progress: Progress) -> None:
        """Write the image for each platform, and send them all under each name."""
        if request.function.build_secrets:
            raise NotSupported(f"function {request.function.name!r} has build secrets, which only RUN could use")
        images = {}
        for platform in request.platforms:
            progress(f"for {platform}")
            alone = msgspec.structs.replace(request, platforms=(platform,))
            images[_platform(alone)] = self._interpret(alone, progress)
        for each in names:
            digest = self._registry.push_index(parse(each), images, progress)
            progress(f"pushed {each}: {digest}")

    def cancel(self) -> None:
        """See `penstock.builders.model.Builder`."""
        self._registry.cancel()
        self._programs.cancel()

    def _interpret(self, request: BuildRequest, progress: Progress) -> Image:
        context = assemble(request, self._programs.check)
        text = read_dockerfile(context)
        if not text:
            raise InvalidInput(f"function {request.function.name!r}: its template has no Dockerfile")
        tell_of_unknown(request, text, progress)
        given, files = self._watchdog(request, text, progress)
        bases = Bases(self._environ, self._store, self._registry, self._programs, files)
        bases.pull = request.pull
        around = Circumstances(
            arguments={**proxies(self._environ), **given, **request.build_args},
            labels=request.labels,
            platform=_platform(request),
            when=time_of(self._environ),
        )
        return Interpreter(parse_dockerfile(text), Context(context), bases, self._store, around, progress).run()

    def _watchdog(
        self, request: BuildRequest, dockerfile: str, progress: Progress
    ) -> tuple[dict[str, str], dict[str, Path]]:
        if not watchdogimage.wanted(request, dockerfile):
            return {}, {}
        image = watchdogimage.provide(self._environ, progress)
        return watchdogimage.arguments(request, dockerfile), {image.reference: image.file}

    def _give_to_engine(self, name: str, image: Image, cached: bool, progress: Progress) -> None:
        if not engine_answers(self._environ):
            return
        progress("giving the engine the image")
        with scratch_folder(self._environ) as folder:
            archive = folder / "image.tar"
            write_archive(name, image, self._store, archive, time_of(self._environ))
            self._programs.run(["docker", "load", "--input", str(archive)], environ=self._environ)


def _platform(request: BuildRequest) -> Platform:
    if len(request.platforms) > 1:
        raise NotSupported("the image writer writes an image for one platform at a time")
    return parse_platform(request.platforms[0] if request.platforms else watchdogimage.machine(), InvalidInput)
