"""The volume that holds the watchdog, mounted read-only into containers of unmodified images.

Called by `starting`. The volume is named after what is in it and filled once for an engine, through a container that is made
and never started; the bundle is made by `penstock watchdog bundle`, or comes from the image that we run in.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import secrets
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import penstock
from penstock.errors import PenstockError, ProviderUnavailable
from penstock.providers.containers import labels
from penstock.providers.containers.engine import Engine, EngineRefused
from penstock.providers.containers.images import Images
from penstock.providers.containers.plan import WATCHDOG
from penstock.providers.containers.volumes import archive_of_bundle
from penstock.watchdog.bundle.origin import digest
from penstock.watchdog.bundle.write import MARK, PLACE

MAKE = (sys.executable, "-m", "penstock", "watchdog", "bundle")
"""What makes a bundle in the directory that follows: a process of its own, so that a server that is to end need not wait for it."""
ENDING = 5.0
"""Seconds for that process to clean up when it is not wanted any more."""
_ABSENT = 404
_CHUNK = 1 << 18

_log = logging.getLogger(__name__)

Tell = Callable[[str], None]


class Source(Protocol):
    """Where the files of the bundle come from."""

    image: str
    """An image that has them, from which the engine copies them itself; empty where they are uploaded."""
    made: bool
    """Whether they may have to be made first, which takes a while."""

    async def name(self) -> str:
        """What tells this bundle from others: a version and a digest. Raises PenstockError."""

    async def directory(self, tell: Tell) -> Path:
        """The files; made first when there are none, which `tell` is told. Raises PenstockError."""


class OwnImage:
    """We run in our own image: the bundle is in it."""

    image, made = "", False

    def __init__(self, place: Path = Path(PLACE)) -> None:
        self._place = place

    async def name(self) -> str:
        return f"{penstock.__version__}-{await asyncio.to_thread(_digest_of_files, self._place)}"

    async def directory(self, tell: Tell) -> Path:
        return self._place


class Made:
    """Made from this installation, in a folder of the home, once for everything that it is made from."""

    image, made = "", True

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self._folder = folder
        self._environ = environ
        self._naming, self._making = asyncio.Lock(), asyncio.Lock()
        self._name = ""

    async def name(self) -> str:
        """Of what is installed when it is first asked for, which is what runs here."""
        async with self._naming:
            if not self._name:
                self._name = f"{penstock.__version__}-{await asyncio.to_thread(digest)}"
        return self._name

    async def directory(self, tell: Tell) -> Path:
        target = self._folder / await self.name()
        async with self._making:
            if not (target / MARK).is_file():
                tell("making the watchdog that is put into its image")
                await self._make(target)
        return target

    async def _make(self, target: Path) -> None:
        try:
            await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)
            said = await _failure_of([*MAKE, str(target)], self._environ)
        except OSError as error:
            raise PenstockError(f"the watchdog cannot be made in {target}: {error.strerror or error}") from error
        if said is not None:
            raise PenstockError(f"the watchdog cannot be made in {target}: {said}")
        await asyncio.to_thread(self._remove_others, target)

    def _remove_others(self, target: Path) -> None:
        for earlier in self._folder.iterdir():
            if earlier != target and not earlier.name.startswith("."):  # another may be at work there
                shutil.rmtree(earlier, ignore_errors=True)


class FromImage:
    """Another image has it."""

    made = False

    def __init__(self, image: str, images: Images) -> None:
        self.image = image
        self._images = images

    async def name(self) -> str:
        facts = await self._images.ensure(self.image, _nobody)
        return f"image-{facts.id.removeprefix('sha256:')[:12]}"

    async def directory(self, tell: Tell) -> Path:
        raise PenstockError(f"watchdog_image: {self.image} holds no watchdog at {PLACE}; use an image of Penstock")


def own_source(home: Path, environ: Mapping[str, str]) -> Source:
    """The bundle of our own image where we run in it, otherwise one that is made below `home`."""
    if (Path(PLACE) / MARK).is_file():
        return OwnImage()
    return Made(home / "watchdog", environ)


@dataclass(frozen=True)
class _Volume:
    name: str
    ours: bool


class Bundle:
    """The bundle of an installation on its engine."""

    def __init__(self, engine: Engine, installation: str, source: Source) -> None:
        self._engine = engine
        self._installation = installation
        self._source = source
        self._filling: asyncio.Task[str] | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._listeners: list[Tell] = []

    def prepare(self) -> None:
        """Begin to make in the background what the first function would have to wait for, where no volume of it is there."""
        if self._source.made:
            self._preparing = asyncio.create_task(self._prepare())

    async def ensure(self, image: str, tell: Tell) -> str:
        """The name of a volume with all of the bundle. `image` is any that is present: containers are made of one. Raises
        PenstockError. Whoever waits may give up: it goes on for the others."""
        if not self._filling:
            self._filling = asyncio.create_task(self._find_or_fill(image, self._tell))
        filling = self._filling
        self._listeners.append(tell)
        try:
            return await asyncio.shield(filling)
        except EngineRefused as error:
            raise PenstockError(f"the watchdog cannot be put into its image: {error}") from error
        finally:
            self._listeners.remove(tell)
            if filling.done() and (filling.cancelled() or filling.exception()):
                self.missing(filling)

    def missing(self, filling: asyncio.Task[str] | None = None) -> None:
        """Somebody removed the volume, or may have: look again before it is used."""
        if self._filling and self._filling.done() and filling in (None, self._filling):
            self._filling = None

    async def close(self) -> None:
        tasks = [task for task in (self._filling, self._preparing) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _tell(self, words: str) -> None:
        for listener in list(self._listeners):
            listener(words)

    async def _prepare(self) -> None:
        try:
            name, _ = await self._names()
            if not await self._is_there(name):
                await self._source.directory(_log.info)
        except (PenstockError, EngineRefused) as error:
            _log.warning("the first function whose image has no watchdog will wait for one to be made: %s", error)

    async def _is_there(self, name: str) -> bool:
        try:
            await self._engine.get(f"/volumes/{name}")
        except EngineRefused as error:
            if error.code != _ABSENT:
                raise
            return False
        return True

    async def _names(self) -> tuple[str, str]:
        """Of the volume, and of the one that is used where that one is not ours and not complete."""
        name = f"penstock-watchdog-{await self._source.name()}"
        return name, f"{name}-{self._installation}"

    async def _find_or_fill(self, image: str, tell: Tell) -> str:
        names = await self._names()
        for candidate in names:
            volume = await self._volume_of(candidate)
            helper = await self._make_helper(image, candidate)
            try:
                if await self._is_complete(helper):
                    return candidate
                if volume.ours:
                    await self._fill(helper, tell)
                    await self._remove_others(candidate)
                    return candidate
            finally:
                await self._remove_helper(helper)
        raise ProviderUnavailable(f"volume {names[-1]} is not ours and holds no watchdog; remove it")

    async def _volume_of(self, name: str) -> _Volume:
        """Made when it is not there. One that is not ours is only read."""
        ours = {labels.OWNER: self._installation, labels.KIND: "bundle"}
        document = await self._engine.post("/volumes/create", {"Name": name, "Labels": ours})
        return _Volume(name, (document.get("Labels") or {}).get(labels.OWNER) == self._installation)

    async def _make_helper(self, image: str, volume: str) -> str:
        body = {
            "Image": self._source.image or image,
            "Entrypoint": list(WATCHDOG),
            "Labels": {labels.OWNER: self._installation, labels.KIND: "helper"},
            "HostConfig": {
                "NetworkMode": "none",
                "Mounts": [
                    {
                        "Type": "volume",
                        "Source": volume,
                        "Target": PLACE,
                        "VolumeOptions": {"NoCopy": not self._source.image},
                    },
                ],
            },
        }
        name = f"penstock-helper-{secrets.token_hex(6)}"
        document = await self._engine.post("/containers/create", body, name=name)
        return str(document["Id"])

    async def _remove_helper(self, helper: str) -> None:
        # What stays is removed when control starts again.
        with suppress(EngineRefused, ProviderUnavailable):
            await self._engine.delete(f"/containers/{helper}", force="true")

    async def _is_complete(self, helper: str) -> bool:
        stream = self._engine.stream(f"/containers/{helper}/archive", path=f"{PLACE}/{MARK}")
        try:
            async for _ in stream:
                return True
        except EngineRefused as error:
            if error.code != _ABSENT:
                raise
        finally:
            await stream.aclose()
        return False

    async def _fill(self, helper: str, tell: Tell) -> None:
        directory = await self._source.directory(tell)
        tell("putting the watchdog into its image")
        try:
            with await asyncio.to_thread(archive_of_bundle, directory) as archive:
                await self._engine.put_archive(helper, PLACE, _chunks(archive))
        except OSError as error:
            raise PenstockError(f"the watchdog in {directory} cannot be read: {error.strerror or error}") from error
        tell("")

    async def _remove_others(self, name: str) -> None:
        """Bundles of earlier versions that no container uses any more."""
        filters = {"label": [f"{labels.OWNER}={self._installation}", f"{labels.KIND}=bundle"]}
        with suppress(EngineRefused, ProviderUnavailable):
            for volume in (await self._engine.get("/volumes", filters=filters)).get("Volumes") or ():
                if volume["Name"] != name:
                    with suppress(EngineRefused):
                        await self._engine.delete(f"/volumes/{volume['Name']}")


def _nobody(text: str) -> None:
    """Nobody waits for it to be told."""


async def _failure_of(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Its last words when it fails. Raises OSError when it cannot be started; ends it when nobody waits any more."""
    nowhere = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(  # noqa: TID251 - it works for seconds; how fast it is spawned is all the same
        *command, env=dict(environ), stdin=nowhere, stdout=nowhere, stderr=asyncio.subprocess.PIPE
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        await _end(process)
        raise
    return said.decode(errors="replace").strip()[-1000:] if process.returncode else None


async def _end(process: asyncio.subprocess.Process) -> None:
    """As Ctrl-C does, upon which it removes what it has begun; by force if it does not end."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(ENDING):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk


def _digest_of_files(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(os.fsencode(path.relative_to(folder)) + b"\0")
        if path.is_file() and not path.is_symlink():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
