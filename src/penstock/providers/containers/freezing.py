"""When a container may be frozen: once nobody is connected to its function's port any more.

Called by `resting`. The kernel tells who is connected, where the container's processes can be seen from here; where they
cannot, because the engine is elsewhere or we are in a container ourselves, a moment has to do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

LOOK_EVERY = 0.05
UNSEEN_WAIT = 1.0
"""Seconds before one is frozen of which no connections can be seen. The gateway sends it none by then; one that still waits
for its answer gets it when the function is woken."""
_ESTABLISHED, _CLOSE_WAIT = "01", "08"
"""States of tcp(7) in /proc/net/tcp in which somebody still waits for bytes."""

Sleep = Callable[[float], Awaitable[None]]


async def until_idle(
    pid: int, container: str, port: int, sleep: Sleep, proc: Path = Path("/proc"), grace: float = 2 * UNSEEN_WAIT
) -> None:
    """Wait until nobody is connected to a port of a container whose first process has this number on the engine's machine.
    After `grace` seconds the container is ended by force: where nothing can be seen, half of it is waited at the most."""
    while (count := connections(pid, container, port, proc)) is not None:
        if not count:
            return
        await sleep(LOOK_EVERY)
    await sleep(min(UNSEEN_WAIT, grace / 2))


def connections(pid: int, container: str, port: int, proc: Path = Path("/proc")) -> int | None:
    """How many there are to the port; None where the process that has this number here is not of that container."""
    folder = proc / str(pid)
    try:
        if not pid or container not in (folder / "cgroup").read_text() + (folder / "mountinfo").read_text():
            return None
        count = count_in((folder / "net/tcp").read_text(), port)
    except OSError:
        return None
    with suppress(OSError):  # kernels without version 6 have no such table
        count += count_in((folder / "net/tcp6").read_text(), port)
    return count


def count_in(table: str, port: int) -> int:
    """Connections to a local port in a table of proc_pid_net(5)."""
    wanted = f":{port:04X}"
    rows = (line.split() for line in table.splitlines()[1:])
    return sum(len(row) > 3 and row[1].endswith(wanted) and row[3] in (_ESTABLISHED, _CLOSE_WAIT) for row in rows)
