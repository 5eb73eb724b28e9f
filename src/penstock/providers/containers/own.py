"""Whether this process is itself in a container of an engine, and in which.

The docker runtime asks once, at its start: from within a container other containers are reached by address, once it has joined
their network, and the bundle is in the image. Engines mount a container's own files by its id, which gives it away.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from penstock.providers.containers.engine import Engine, EngineRefused

_MOUNTED = re.compile(r"/containers/([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)\b")
_CGROUP = re.compile(r"(?:/docker/|/docker-)([0-9a-f]{64})\b")


async def own_container(engine: Engine, proc: Path = Path("/proc/self")) -> dict[str, Any] | None:
    """What the engine says of the container that this process is in; None when it is in none of this engine's."""
    for candidate in candidates(_read(proc / "mountinfo"), _read(proc / "cgroup")):
        try:
            document: dict[str, Any] = await engine.get(f"/containers/{candidate}/json")
        except EngineRefused as error:
            if error.code != 404:
                raise
        else:
            return document
    return None


def candidates(mountinfo: str, cgroup: str) -> list[str]:
    """Ids of containers that proc_pid_mountinfo(5) and cgroups(7) of a process speak of, likeliest first."""
    found = [*_MOUNTED.findall(mountinfo), *_CGROUP.findall(cgroup)]
    return list(dict.fromkeys(found))


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
