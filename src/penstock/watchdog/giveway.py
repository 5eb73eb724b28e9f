"""The watchdog that an image has of its own, and becoming it: `--give-way` of `penstock.watchdog.__main__`.

Used where ours is put into an image whose entrypoint nobody could read beforehand, as on Kubernetes. Looks for names that only
watchdogs have: a program called `watchdog` is on many systems something else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

NAMES = ("fwatchdog", "of-watchdog")
"""Those of `settings.ORIGINALS`, without importing what only ours needs."""
PLACES = ("/usr/local/bin", "/usr/bin", "/bin", "/home/app", "/")
"""Where images of functions have it, beside what their PATH says."""


def own_watchdog(environ: Mapping[str, str]) -> str:
    """The absolute path of a program that the image has and that is called like a watchdog; empty when it has none."""
    return next(filter(_can_run, _candidates(environ)), "")


def become(path: str, environ: Mapping[str, str]) -> OSError:
    """Be that program from now on, in this environment. Returns only what prevents it, such as a file for another machine."""
    try:
        os.execve(path, [path], dict(environ))  # noqa: S606 - the container becomes it
    except OSError as error:
        return error


def _candidates(environ: Mapping[str, str]) -> Iterator[str]:
    folders = [folder for folder in environ.get("PATH", "").split(":") if folder.startswith("/")]
    for name in NAMES:
        for folder in dict.fromkeys([*folders, *PLACES]):
            yield os.path.join(folder, name)


def _can_run(path: str) -> bool:
    try:
        return os.path.isfile(path) and os.access(path, os.X_OK)
    except ValueError:  # a NUL cannot be in a path, nor in an environment that a kernel passed on
        return False
