"""What sessions of processes use: processor time between two looks at them, and memory now.

The process runtime has functions measured again and again with it. One pass over /proc serves all functions of a look, and the
look before is the start of the time that is measured, so that nobody waits for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Set

import msgspec

from penstock.model import Usage
from penstock.providers.runtimes import processes

SHORTEST = 0.05
"""Seconds between two looks; the kernel counts hundredths."""
LONGEST = 60.0
"""Seconds; what was seen longer ago says little about now."""


class Group(msgspec.Struct, frozen=True):
    """The sessions of one function."""

    serving: frozenset[int]
    """Of replicas that have been ready."""
    others: frozenset[int] = frozenset()
    """Of replicas that start, and of warmed parents, which import for them: of these only the memory counts."""


class _Look(msgspec.Struct, frozen=True):
    when: float
    seconds: dict[int, float]
    """Processor time by session."""


class SessionMeter:
    """Remembers the last look at each function. May be asked by several threads; they wait for each other."""

    def __init__(
        self,
        scan: Callable[[], Iterable[processes.Stat]] = processes.all_processes,
        memory_of: Callable[[int], int] = processes.memory_of,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scan = scan
        self._memory_of = memory_of
        self._monotonic = monotonic
        self._looks: dict[str, _Look] = {}
        self._lock = threading.Lock()

    def measure(self, groups: Mapping[str, Group]) -> dict[str, Usage]:
        """By function. Those that were not looked at shortly before are missing: they are known the next time."""
        with self._lock:
            return self._measure(groups)

    def _measure(self, groups: Mapping[str, Group]) -> dict[str, Usage]:
        now = self._monotonic()
        seconds, pids = self._sums(frozenset().union(*(group.serving | group.others for group in groups.values())))
        measured: dict[str, Usage] = {}
        for key, group in groups.items():
            serving = {session: seconds[session] for session in group.serving if session in seconds}
            before = self._looks.get(key)
            if before is not None and now - before.when < SHORTEST:
                continue
            self._looks[key] = _Look(now, serving)
            if before is None or now - before.when > LONGEST:
                continue
            # What a new one has spent until now was, at least in part, its start.
            known = serving.keys() & before.seconds.keys()
            if serving and not known:
                continue
            spent = sum(max(0.0, serving[one] - before.seconds[one]) for one in known)
            memory = sum(self._memory_of(pid) for one in group.serving | group.others for pid in pids.get(one, ()))
            measured[key] = Usage(cpu_millis=1000 * spent / (now - before.when), memory_bytes=memory)
        self._forget(now)
        return measured

    def _sums(self, sessions: Set[int]) -> tuple[dict[int, float], dict[int, list[int]]]:
        """Processor time and processes by session, in one pass. A child that ended counts where it was waited for."""
        seconds: dict[int, float] = {}
        pids: dict[int, list[int]] = {}
        for stat in self._scan():
            if stat.session in sessions:
                spent = stat.cpu_seconds + stat.children_seconds
                seconds[stat.session] = seconds.get(stat.session, 0.0) + spent
                pids.setdefault(stat.session, []).append(stat.pid)
        return seconds, pids

    def _forget(self, now: float) -> None:
        for key in [key for key, look in self._looks.items() if now - look.when > LONGEST]:
            del self._looks[key]
