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

    replicas: frozenset[int]
    parents: frozenset[int] = frozenset()
    """Of warmed parents. The time of children that they waited for is not theirs: those were replicas."""


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
        replicas = frozenset().union(*(group.replicas for group in groups.values()))
        parents = frozenset().union(*(group.parents for group in groups.values()))
        seconds, pids = self._sums(replicas, parents)
        measured: dict[str, Usage] = {}
        for key, group in groups.items():
            sessions = [session for session in group.replicas | group.parents if session in seconds]
            before = self._looks.get(key)
            if before is not None and now - before.when < SHORTEST:
                continue
            self._looks[key] = _Look(now, {session: seconds[session] for session in sessions})
            if before is not None and now - before.when <= LONGEST:
                # Of one that is new all counts: it began after the look before.
                spent = sum(max(0.0, seconds[one] - before.seconds.get(one, 0.0)) for one in sessions)
                memory = sum(self._memory_of(pid) for session in sessions for pid in pids[session])
                measured[key] = Usage(cpu_millis=1000 * spent / (now - before.when), memory_bytes=memory)
        self._forget(now)
        return measured

    def _sums(self, replicas: Set[int], parents: Set[int]) -> tuple[dict[int, float], dict[int, list[int]]]:
        """Processor time and processes by session, in one pass. A child that ended counts where it was waited for."""
        seconds: dict[int, float] = {}
        pids: dict[int, list[int]] = {}
        for stat in self._scan():
            if stat.session in replicas:
                spent = stat.cpu_seconds + stat.children_seconds
            elif stat.session in parents:
                spent = stat.cpu_seconds
            else:
                continue
            seconds[stat.session] = seconds.get(stat.session, 0.0) + spent
            pids.setdefault(stat.session, []).append(stat.pid)
        return seconds, pids

    def _forget(self, now: float) -> None:
        for key in [key for key, look in self._looks.items() if now - look.when > LONGEST]:
            del self._looks[key]
