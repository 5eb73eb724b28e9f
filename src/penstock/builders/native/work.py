"""What a toolchain is given to work with: the assembled folder, a way to run programs, a place for what builds share."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from penstock.builders.model import Progress
from penstock.builders.native.store import Record, Store
from penstock.builders.program import Programs
from penstock.errors import BuildFailed, NotSupported


@dataclass(frozen=True)
class Places:
    """What a toolchain has made, besides files in the build's folder."""

    python: str = ""
    """Interpreter that sees the function's packages."""
    site: str = ""
    """Folder of those packages; empty when there are none."""
    uses: tuple[str, ...] = ()
    """Shared folders."""


@dataclass(frozen=True)
class Work:
    """One build."""

    build: Path
    function: Path
    """The handler's place in `build`."""
    shown: str
    """The handler's folder as the user named it, for the words of compilers."""
    digest: str
    """Of everything that went into it."""
    programs: Programs
    progress: Progress
    environ: Mapping[str, str]
    """Ours, with the build arguments."""
    store: Store
    again: bool = False
    """Make everything anew."""
    waiting: Callable[[], None] = field(default=lambda: None)

    def run(self, arguments: Sequence[str], directory: Path | None = None) -> str:
        """Run a program in the handler's folder, or another. Raises BuildFailed, whose words name files as the user knows them."""
        try:
            return self.programs.run(arguments, directory=directory or self.function, environ=self.environ)
        except BuildFailed as error:
            raise BuildFailed(str(error), self._as_known(error.words)) from error

    def _as_known(self, words: str) -> str:
        """Words of a program with the handler's files as the user knows them, and those of the template by their place in it."""
        inside = self.function.relative_to(self.build)
        words = words.replace(str(self.function), self.shown).replace(f"{self.build}/", "")
        if inside == Path():
            return words
        return re.sub(rf"(?<![\w./-])(?:\./)?{re.escape(str(inside))}/", lambda _: f"{self.shown}/", words)

    def share(self, kind: str, key: str, fill: Callable[[Path], None], leads: tuple[str, ...] = ()) -> Path:
        """The shared folder of that key, made by `fill` when there is none, or when one of the links `leads` leads nowhere any more.

        Raises what `fill` raises.
        """
        parent = self.store.shared(kind)

        def make(folder: Path) -> Record:
            fill(folder)
            return Record(needs=tuple(sorted(os.listdir(folder))), leads=leads)

        with self.store.locked(parent, self.waiting, key):
            found = None if self.again else self.store.find(parent, key)
            if found:
                self.store.touch(found[0])
                return found[0]
            folder, _ = self.store.make(parent, key, make)
        self.store.prune_shared(kind, time.time())
        return folder


class Toolchain(Protocol):
    """A module of this package that knows one family of languages."""

    def identity(self, environ: Mapping[str, str]) -> str:
        """Changes when the tools that leave their mark on a build do. Raises NotSupported when they are missing."""
        ...

    def make(self, work: Work) -> Places:
        """Turn the assembled folder into one that runs. Raises BuildFailed, NotSupported, InvalidInput."""
        ...


def find_tool(name: str, package: str, environ: Mapping[str, str], purpose: str = "") -> str:
    """Path of a program. Raises NotSupported with the Debian package that brings it."""
    path = shutil.which(name, path=environ.get("PATH"))
    if path is None:
        reason = f", which {purpose}" if purpose else ""
        raise NotSupported(f"{name!r} is not installed{reason}: apt-get install {package}")
    return path


def identity_of(path: str) -> str:
    """Names this very version of a program, without starting it."""
    real = os.path.realpath(path)
    stat = os.stat(real)
    return f"{real}:{stat.st_size}:{stat.st_mtime_ns}"


def key_of(*parts: str | bytes) -> str:
    """A digest of several parts."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()
