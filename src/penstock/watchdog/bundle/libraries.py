"""The closure of shared libraries: everything that must be loaded with the interpreter and the extension modules.

Called by `collect`. What a file needs is read from it; where that is found on this machine, its own loader is asked, which
knows every search path and cache.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from penstock.errors import InvalidInput, NotFound, NotSupported
from penstock.watchdog.bundle.elf import Elf, read_elf

Listing = Callable[[Path], Mapping[str, Path]]
"""Where the libraries are that a file needs, directly or not, by their names; without those that are nowhere."""

_FOUND = re.compile(r"^\s*(\S+) => (/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)
_LOADER = re.compile(r"ld-linux-[a-z0-9-]+\.so\.[12]")


def read_file(path: Path) -> Elf:
    """`read_elf` of a file. Raises InvalidInput and NotSupported that name it, OSError."""
    try:
        return read_elf(path.read_bytes())
    except (InvalidInput, NotSupported) as error:
        raise type(error)(f"{path}: {error}") from error


def loader_of(program: Path) -> Path:
    """The loader of a program, glibc's. Raises NotSupported when it has another one, or none."""
    name = read_file(program).interpreter
    if not _LOADER.fullmatch(Path(name).name):
        raise NotSupported(
            f"{program} is loaded by {name or 'the kernel alone'}; a bundle is made from a Python that runs on glibc"
        )
    return Path(name)


def ask(loader: Path) -> Listing:
    """A listing made by the loader itself, which loads nothing for it but the files it lists."""

    def listing(path: Path) -> Mapping[str, Path]:
        # Without variants for this machine's processor, which another one may not have. The exit code tells of missing
        # libraries too, which the caller finds out with more words.
        command = [str(loader), "--glibc-hwcaps-mask", "none", "--list", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return {name: Path(place) for name, place in _FOUND.findall(done.stdout)}

    return listing


def can_rename(loader: Path) -> bool:
    """Whether the loader can tell a program another name than its file's, `--argv0`; glibc 2.33 and later."""
    done = subprocess.run([loader, "--help"], capture_output=True, text=True, check=False)
    return "--argv0" in done.stdout


def closure(
    files: Iterable[Path], listing: Listing, present: Iterable[str] = (), extra: Iterable[str] = ()
) -> dict[str, Path]:
    """The libraries that the files need, by the names under which they are wanted.

    `present` are names that are there already, such as the loader's; `extra` are names that nothing needs at first and that
    are opened later; they are taken from the same place as the others, if they are there. Raises NotFound naming every
    library that is not on this machine and who needs it.
    """
    found: dict[str, Path] = {}
    missing: dict[str, Path] = {}
    known = set(present)
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        wanted = [name for name in read_file(file).needed if name not in known]
        places = listing(file) if wanted else {}
        for name in wanted:
            known.add(name)
            if name in places:
                found[name] = places[name]
                waiting.append(places[name])
            else:
                missing[name] = file
        if not waiting:
            waiting = _beside(found, [name for name in extra if name not in known])
            for place in waiting:
                known.add(place.name)
                found[place.name] = place
    if missing:
        lines = [f"  {name}, needed by {file}" for name, file in sorted(missing.items())]
        raise NotFound("these shared libraries are not on this machine:\n" + "\n".join(lines))
    return dict(sorted(found.items()))


def _beside(found: Mapping[str, Path], names: Iterable[str]) -> list[Path]:
    folders = {place.parent for place in found.values()}
    candidates = [[folder / name for folder in sorted(folders) if (folder / name).is_file()] for name in names]
    return [places[0] for places in candidates if places]
