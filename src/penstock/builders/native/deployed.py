"""Which native builds are deployed, so that they stay however many are made after them: replicas run from their folders.

    <root>/.deployed/<function>/<digest of gateway, namespace and name>

Written by `penstock.cli.deploying` before a build is deployed and when it is ready, for each gateway and namespace by itself;
read by `store` when it takes builds away. A build stays while it may run anywhere: as long as none after it is known to be ready.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from penstock.errors import InvalidInput, NotFound

FOLDER = ".deployed"
"""Among the builds; no function can be called that."""
UNSURE = 86_400.0
"""Seconds for which a build stays that another has followed, where nobody has waited until either was ready."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """One build that was deployed."""

    build: str
    """Name of its folder."""
    since: float
    """When it was deployed, in seconds since 1970."""
    ready: bool = False
    """Whether a replica of it was ready."""


class Deployed:
    """The builds below one root that are deployed. Safe for any number of processes."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def builds_in(self, texts: Iterable[str]) -> list[Path]:
        """The builds whose folders are named in program lines or variables."""
        build = re.compile(re.escape(str(self._root)) + r"/([a-z0-9][a-z0-9-]*)/([0-9a-f]{40}(?:-\d+)?)(?![0-9A-Za-z])")
        found = (self._root / match[1] / match[2] for text in texts for match in build.finditer(text))
        return list(dict.fromkeys(found))

    def hold(self, build: Path, place: str, now: float) -> None:
        """Keep a build that is about to be deployed at `place`, a text that names gateway, namespace and function.

        Raises NotFound when the build has just been taken away.
        """
        with self._locked(build.parent.name) as folder:
            if not build.is_dir():
                raise NotFound(f"the build {str(build)!r} is there no more; build again")
            path = folder / _key(place)
            uses = [use for use in _read(path) if use.build != build.name]
            _write(path, (*_still_needed(uses, now), Use(build=build.name, since=now)))

    def settle(self, build: Path, place: str) -> None:
        """Note that a build is ready there. Of those before it only the last that was ready stays, to go back to."""
        with self._locked(build.parent.name) as folder:
            path = folder / _key(place)
            uses = _read(path)
            names = [use.build for use in uses]
            if build.name not in names:
                return
            position = names.index(build.name)
            before = [use for use in uses[:position] if use.ready][-1:]
            settled = msgspec.structs.replace(uses[position], ready=True)
            _write(path, (*before, settled, *uses[position + 1 :]))

    @contextlib.contextmanager
    def held(self, function: str) -> Iterator[set[str]]:
        """Names of the folders that must stay; as long as the context lasts no other becomes one."""
        with self._locked(function) as folder:
            records = [path for path in folder.iterdir() if not path.name.startswith(".")]
            yield {use.build for path in records for use in _read(path)}

    @contextlib.contextmanager
    def _locked(self, function: str) -> Iterator[Path]:
        folder = self._root / FOLDER / function
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield folder


def _still_needed(uses: list[Use], now: float) -> Iterator[Use]:
    """Those that may run: known to have been ready, or followed by another not long ago."""
    for position, use in enumerate(uses):
        followed = uses[position + 1].since if position + 1 < len(uses) else now
        if use.ready or now - followed < UNSURE:
            yield use


def _key(place: str) -> str:
    return hashlib.sha256(place.encode()).hexdigest()[:40]


def _read(path: Path) -> list[Use]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Use])
    except FileNotFoundError:
        return []
    except msgspec.MsgspecError as error:
        raise InvalidInput(
            f"{str(path)!r} should say which builds are deployed, and cannot be read: {error}"
        ) from error


def _write(path: Path, uses: Iterable[Use]) -> None:
    aside = path.with_name(f".new-{path.name}")
    aside.write_bytes(msgspec.json.encode(list(uses)))
    aside.rename(path)
