"""The warmed parents as the zygote sees them: which launch goes to which, what becomes of it when one dies, and when one is dropped.

A warmed parent is a process that has imported one function and forks its replicas (`parent`). Nothing here waits for one: launches
are written into its socket, and what it reports is read when the zygote's loop says that there is something.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from penstock.providers.runtimes.messages import (
    Exited,
    Forked,
    FromParent,
    FromZygote,
    Imported,
    Importing,
    Launch,
    ParentStarted,
    Warmed,
    frame,
    read_report,
)
from penstock.providers.runtimes.parent import Serve, Upbringing, live
from penstock.providers.runtimes.peer import Peer
from penstock.providers.runtimes.processes import kill
from penstock.providers.runtimes.records import PARENT_PREFIX, remove_directory
from penstock.watchdog.settings import IMPORTING_MODES
from penstock.watchdog.spawn import describe_exit

IDLE = 600.0
"""Seconds that a parent is kept without a launch and without a replica of its own. Long enough for a function that is called
every few minutes and scaled to zero in between; with replicas it costs little, since they share its memory."""
TICK = 5.0
"""Seconds between two looks at idleness and memory while there are parents."""
SHORT_OF_MEMORY = 0.1
"""Share of the machine's memory; with less available one parent is dropped at each look, and no new one is made."""

_log = logging.getLogger("penstock.zygote")


class Host(Protocol):
    """What the zygote does for its parents."""

    def poll(self) -> select.poll: ...

    def fork(self, life: Callable[[], int]) -> int:
        """The pid of a child that lives `life`; 0 when the system refuses."""

    def launch(self, launch: Launch) -> None:
        """Start a replica without a parent."""

    def adopt(self, pid: int, token: str, parent: str = "", failure: str = "") -> None:
        """A parent has forked a replica. `failure`: see `Launched`."""

    def tell(self, news: FromZygote) -> None: ...


class _Parent:
    """One of them. `pending` are launches that it has been handed and that no replica has come of; None for one given up."""

    def __init__(self, token: str, launch: Launch, channel: socket.socket) -> None:
        self.token = token
        self.key = launch.order.spec.key
        self.identity = identity_of(launch)
        self.handler = launch.environ.get("handler", "")
        self.directory = Path(launch.directory).with_name(token)
        self.peer = Peer(channel)
        self.pid = 0
        self.state: Literal["importing", "warm", "failed"] = "importing"
        self.failure = ""
        self.leaving = False
        self.pending: dict[str, Launch | None] = {}
        self.replicas: set[str] = set()
        self.since = time.monotonic()
        """Its last launch or the end of its last replica."""

    @property
    def idle(self) -> bool:
        return self.state == "warm" and not self.pending


class Parents:
    """All of one zygote."""

    def __init__(self, host: Host, serve: Serve, lifeline: int) -> None:
        self._host = host
        self._serve = serve
        self._lifeline = lifeline
        self._by_pid: dict[int, _Parent] = {}
        self._by_fd: dict[int, _Parent] = {}
        self._current: dict[str, _Parent] = {}
        """The one of each function that takes launches."""
        self._alone: dict[str, tuple[str, int, int]] = {}
        """Functions whose import leaves what cannot be forked, so that there is no use in a parent."""
        self._next_look = 0.0

    @property
    def tick_ms(self) -> int | None:
        """How long the loop may sleep."""
        return int(TICK * 1000) if self._by_pid else None

    def living(self) -> dict[str, Warmed]:
        return {parent.token: Warmed(pid=parent.pid, key=parent.key) for parent in self._by_pid.values()}

    def take(self, launch: Launch) -> bool:
        """Hand the launch to a parent; False when the replica has to be started without one."""
        if not wants_parent(launch):
            return False
        key, identity = launch.order.spec.key, identity_of(launch)
        parent = self._current.get(key)
        if parent and parent.identity != identity:
            if parent.identity[0] == identity[0] and parent.identity[1] > identity[1]:
                return False  # a replica of an older generation, restarted while the newer ones are on their way
            self._let_go(parent)
            parent = None
        if parent is None:
            parent = self._start(launch, identity)
        return bool(parent and self._hand(parent, launch))

    def cancel(self, token: str) -> None:
        """Nobody wants this replica any more."""
        for parent in self._by_pid.values():
            if parent.pending.get(token):
                parent.pending[token] = None
                self._host.tell(Exited(token=token, error="it was stopped before it was started"))
                if parent.state == "importing" and not any(parent.pending.values()):
                    self._retire(parent)
                    kill(parent.pid)  # its import may never end
                return

    def forget(self, key: str) -> None:
        """The function is gone."""
        self._alone.pop(key, None)
        if parent := self._current.get(key):
            self._let_go(parent)

    def replica_ended(self, token: str) -> None:
        for parent in self._by_pid.values():
            if token in parent.replicas:
                parent.replicas.discard(token)
                parent.since = time.monotonic()

    def look(self) -> None:
        """Drop what has been idle for long and, when memory is short, whoever has been idle longest."""
        now = time.monotonic()
        if not self._by_pid or now < self._next_look:
            return
        self._next_look = now + TICK
        idle = [parent for parent in self._current.values() if parent.idle]
        for parent in idle:
            if not parent.replicas and now - parent.since > IDLE:
                self._let_go(parent)
        self._relieve(idle)

    def end_all(self) -> None:
        """The zygote ends."""
        for pid, parent in self._by_pid.items():
            kill(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
            remove_directory(parent.directory)

    # What parents say

    def attend(self, fd: int) -> None:
        """Read what a parent has reported, write what waits for it."""
        parent = self._by_fd.get(fd)
        if parent is None:
            return
        try:
            while bodies := parent.peer.receive():
                for body in bodies:
                    self._hear(parent, read_report(body))
            parent.peer.flush()
        except (OSError, ValueError, msgspec.MsgspecError):
            self._hang_up(parent)  # its end follows
            return
        self._watch(parent)
        if parent.leaving and not parent.pending:
            kill(parent.pid)

    def attend_all(self) -> None:
        for fd in list(self._by_fd):
            self.attend(fd)

    def ended(self, pid: int, status: int) -> None:
        """A child of the zygote was reaped: if it was a parent, none of its launches is lost."""
        parent = self._by_pid.pop(pid, None)
        if parent is None:
            return
        self._hang_up(parent)
        self._retire(parent)
        self._host.tell(Exited(token=parent.token, status=status))
        for token, launch in parent.pending.items():
            if launch is None:
                continue
            if parent.state == "importing":
                error = f"the import of {parent.handler or 'the handler'} ended the process: {describe_exit(status)}"
                self._host.tell(Exited(token=token, error=error))
            else:
                self._host.launch(launch)

    def _hear(self, parent: _Parent, report: FromParent) -> None:
        if isinstance(report, Imported):
            self._imported(parent, report)
            return
        launch = parent.pending.pop(report.token, None)
        if isinstance(report, Forked):
            parent.replicas.add(report.token)
            self._host.adopt(report.pid, report.token, parent.token, parent.failure)
            if launch is None:
                kill(report.pid)
        elif launch is not None:
            self._host.launch(launch)

    def _imported(self, parent: _Parent, report: Imported) -> None:
        if report.outcome == "warm":
            parent.state = "warm"
            return
        parent.state = "failed"
        self._retire(parent)
        if report.outcome == "failed":
            parent.failure = report.note
            return
        self._alone[parent.key] = parent.identity
        if report.note:
            _log.info("each replica of %s imports the function itself: the import has left %s", parent.key, report.note)
        pending, parent.pending = parent.pending, {}
        for launch in filter(None, pending.values()):
            self._host.launch(launch)

    # Beginning and ending

    def _start(self, launch: Launch, identity: tuple[str, int, int]) -> _Parent | None:
        if self._alone.get(launch.order.spec.key) == identity or memory_is_short():
            return None
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        token = PARENT_PREFIX + os.urandom(6).hex()[1:]
        parent = _Parent(token, launch, ours)
        own = msgspec.structs.replace(
            launch, order=msgspec.structs.replace(launch.order, token=token), directory=str(parent.directory)
        )
        upbringing = Upbringing(own, theirs, self._lifeline, self._serve, os.getpid())
        parent.pid = self._host.fork(lambda: live(upbringing))
        theirs.close()
        if not parent.pid:
            ours.close()
            return None
        self._by_pid[parent.pid] = self._by_fd[ours.fileno()] = self._current[parent.key] = parent
        self._host.poll().register(ours, select.POLLIN)
        self._host.tell(ParentStarted(token=token, parent=Warmed(pid=parent.pid, key=parent.key)))
        return parent

    def _hand(self, parent: _Parent, launch: Launch) -> bool:
        try:
            parent.peer.send(frame(launch))
        except OSError:
            self._let_go(parent)
            return False
        parent.since = time.monotonic()
        parent.pending[launch.order.token] = launch
        self._watch(parent)
        if parent.state == "importing":
            self._host.tell(Importing(token=launch.order.token, handler=parent.handler))
        return True

    def _retire(self, parent: _Parent) -> None:
        """No more launches for it; it ends when those that it has are done."""
        parent.leaving = True
        if self._current.get(parent.key) is parent:
            del self._current[parent.key]

    def _let_go(self, parent: _Parent) -> None:
        self._retire(parent)
        if not parent.pending:
            kill(parent.pid)

    def _relieve(self, idle: list[_Parent]) -> None:
        idle = [parent for parent in idle if not parent.leaving]
        if idle and memory_is_short():
            parent = min(idle, key=lambda parent: (bool(parent.replicas), parent.since))
            _log.info("memory is short: %s is imported anew when it is launched next", parent.key)
            self._let_go(parent)

    def _watch(self, parent: _Parent) -> None:
        events = select.POLLIN | select.POLLOUT if parent.peer.waiting else select.POLLIN
        self._host.poll().modify(parent.peer.connection, events)

    def _hang_up(self, parent: _Parent) -> None:
        fd = parent.peer.connection.fileno()
        if self._by_fd.pop(fd, None):
            self._host.poll().unregister(fd)
            parent.peer.connection.close()


def wants_parent(launch: Launch) -> bool:
    """Whether the function is imported, and not anew with every change of its files."""
    return launch.environ.get("mode") in IMPORTING_MODES and launch.environ.get("python_reload") not in ("true", "1")


def identity_of(launch: Launch) -> tuple[str, int, int]:
    """What must be the same for one import to serve another replica; secrets may have been updated since."""
    order = launch.order
    return order.deployed, order.generation, hash(frozenset(order.secrets.items()))


def memory_is_short() -> bool:
    try:
        lines = Path("/proc/meminfo").read_bytes().splitlines()
    except OSError:
        return False
    sizes = {
        line.partition(b":")[0]: int(line.split()[1]) for line in lines if line.startswith((b"MemTotal:", b"MemA"))
    }
    available, total = sizes.get(b"MemAvailable", 0), sizes.get(b"MemTotal", 0)
    return available < SHORT_OF_MEMORY * total
