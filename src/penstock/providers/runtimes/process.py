"""The process runtime: replicas are watchdogs on unix sockets, forked by the zygote.

The local provider drives it. It watches every replica through a pidfd, so that a death is seen even while there is no
zygote; it finds the replicas of this run again by their records, and ends those that an earlier run has left.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from penstock import __version__, readiness
from penstock.core.health import Check
from penstock.errors import InvalidInput, ProviderUnavailable, SettingsError
from penstock.model import Capabilities, FunctionSpec, LogLine, LogQuery, ProviderInfo, Usage
from penstock.providers.limits import Limits, limits_of
from penstock.providers.local import LocalProvider, Parts
from penstock.providers.members import Probe
from penstock.providers.runtimes import processes
from penstock.providers.runtimes.base import Events, Order, Running
from penstock.providers.runtimes.logfiles import LogFiles
from penstock.providers.runtimes.messages import (
    Cancel,
    Exited,
    Forget,
    FromZygote,
    Hello,
    Importing,
    Launch,
    Launched,
    ParentStarted,
    ToZygote,
    Warmed,
)
from penstock.providers.runtimes.records import PARENT_PREFIX, Record, read_record, remove_directory
from penstock.providers.runtimes.sandbox import program_paths
from penstock.providers.runtimes.sessions import Group, SessionMeter
from penstock.providers.runtimes.zygoteclient import ZygoteClient
from penstock.providers.secretfiles import SecretFiles
from penstock.providers.store import SqliteStore
from penstock.providers.validation import check_program, program_of
from penstock.settings import Home, ServeSettings
from penstock.watchdog.settings import PRIVATE_VARIABLES, load_settings

ZYGOTE_TIMEOUT = 20.0
"""Seconds that `start` waits for the zygote, which imports for about half of one."""
_STATUS_WAIT = 0.5
"""Seconds from seeing a death to giving up on hearing its exit status from the zygote."""
_USAGE_SPAN = 0.1
"""Seconds over which processor use is measured."""
_INHERITED = ("PATH", "LANG", "LANGUAGE", "TZ")
"""Variables of the server that functions get too, besides LC_*; nothing else of its environment reaches them."""

_OURS = frozenset({*PRIVATE_VARIABLES, processes.MARK, "PENSTOCK_SECRETS_DIR"})
"""Variables that are the platform's to set."""

_log = logging.getLogger(__name__)


class _Entry:
    """A replica that was launched or adopted and has not ended."""

    def __init__(self, order: Order, address: str) -> None:
        self.order = order
        self.address = address
        self.since = datetime.now(UTC)
        self.pid = 0
        self.started = 0
        self.pidfd = -1
        self.signal: signal.Signals | None = None
        """Asked for before the pid was known."""
        self.parent = ""
        """Token of the warmed parent that it was forked from."""


class ProcessRuntime:
    """Replicas as processes; see `penstock.providers.runtimes.base.Runtime`."""

    def __init__(self, home: Home, environ: Mapping[str, str]) -> None:
        self.capabilities = Capabilities(runs_processes=True, usage=True)
        self._home = home
        self._run_id = environ.get("PENSTOCK_RUN_ID", "")
        self._inherited = {
            name: value for name, value in environ.items() if name in _INHERITED or name.startswith("LC_")
        }
        self._logs = LogFiles(home.logs)
        self._client = ZygoteClient(home.zygote_socket, self._run_id, self)
        self._entries: dict[str, _Entry] = {}
        self._parents: dict[str, Warmed] = {}
        self._events: Events | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._cleaning: set[asyncio.Task[None]] = set()
        self._boot_id = processes.boot_id()
        self._meter = SessionMeter()

    def info(self) -> ProviderInfo:
        return ProviderInfo(provider="process", orchestration="processes", release=__version__)

    async def start(self, events: Events) -> list[Running]:
        for directory in (self._home.run, self._home.replicas, self._home.logs):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        records = await asyncio.to_thread(self._find)
        for record in records:
            entry = _Entry(record.order, record.address)
            entry.since, entry.parent = record.started_at, record.parent
            self._entries[record.order.token] = entry
            self._attach(entry, record.pid, record.started)
        await self._client.start(ZYGOTE_TIMEOUT)
        self._events = events
        return [record.running() for record in records if record.order.token in self._entries]

    async def close(self) -> None:
        await self._client.close()
        for entry in self._entries.values():
            self._detach(entry)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._cleaning, return_exceptions=True)

    async def health(self) -> None:
        if not self._client.connected:
            raise ProviderUnavailable(self._client.problem())

    def check(self, spec: FunctionSpec) -> None:
        check_program(spec)
        try:
            load_settings({**_function_environment(spec), **_limit_environment(limits_of(spec))})
        except SettingsError as error:
            raise InvalidInput(f"envVars: {error}") from error
        if len(os.fsencode(self._address("0" * 12))) > 113:
            raise InvalidInput(f"home: {self._home.path} is too deep for unix sockets; use a shorter --home")

    def launch(self, order: Order) -> str:
        entry = _Entry(order, self._address(order.token))
        self._client.send(self._launch_message(order, entry.address))
        self._entries[order.token] = entry
        return entry.address

    def check_of(self, token: str) -> Check:
        """Every replica is a watchdog of ours."""
        return Check()

    def stop(self, token: str, kill: bool = False) -> None:
        entry = self._entries.get(token)
        if not entry:
            return
        number = signal.SIGKILL if kill else signal.SIGTERM
        if entry.pidfd >= 0:
            self._signal(entry, number)
        elif entry.signal is not signal.SIGKILL:
            entry.signal = number
            self._ask(Cancel(token=token))  # if it waits for an import, that may take any time

    def rest(self, token: str) -> None:
        self.stop(token)

    def logs(self, query: LogQuery, deployed: Callable[[], bool]) -> AsyncGenerator[LogLine, None]:
        return self._logs.lines(query, deployed)

    def forget_logs(self, name: str, namespace: str, keep: Iterable[str] = ()) -> None:
        self._logs.forget(name, namespace, keep)

    def forget(self, name: str, namespace: str) -> None:
        self._ask(Forget(key=f"{name}.{namespace}"))

    async def usage(self, tokens: Iterable[str]) -> Usage:
        """A function's warmed parent counts: its replicas share its memory, and the shares add up to the whole with it alone."""
        entries = [self._entries[token] for token in tokens if token in self._entries]
        keys = {entry.order.spec.key for entry in entries}
        sessions = {entry.pid for entry in entries} | {one.pid for one in self._parents.values() if one.key in keys}
        before = await asyncio.to_thread(_cpu_seconds, sessions)
        await asyncio.sleep(_USAGE_SPAN)
        return await asyncio.to_thread(_usage, sessions, before, _USAGE_SPAN)

    async def usages(self, tokens: Mapping[str, Sequence[str]], starting: Set[str]) -> dict[str, Usage]:
        parents: dict[str, set[int]] = {}
        for parent in self._parents.values():
            parents.setdefault(parent.key, set()).add(parent.pid)
        groups = {
            key: Group(
                serving=self._pids(token for token in each if token not in starting),
                others=self._pids(token for token in each if token in starting).union(parents.get(key, ())),
            )
            for key, each in tokens.items()
        }
        return await asyncio.to_thread(self._meter.measure, groups)

    def _pids(self, tokens: Iterable[str]) -> frozenset[int]:
        return frozenset(entry.pid for token in tokens if (entry := self._entries.get(token)) and entry.pid)

    # What the zygote says

    def connected(self, hello: Hello) -> None:
        self.capabilities = Capabilities(runs_processes=True, usage=True, sandbox=hello.sandbox)
        self._parents = dict(hello.parents)
        for token, pid in hello.replicas.items():
            if token not in self._entries:
                processes.kill(pid)
        if self._events:
            self._spawn(self._clear_strangers())
            self._events.available()

    def heard(self, news: FromZygote) -> None:
        if isinstance(news, Launched):
            self._launched(news)
        elif isinstance(news, ParentStarted):
            self._parents[news.token] = news.parent
        elif isinstance(news, Importing):
            self._tell_waiting(news.token, f"importing {news.handler or 'its handler'}")
        elif isinstance(news, Exited):
            entry = self._entries.get(news.token)
            if entry:
                self._ended(entry, news.error or processes.describe_end(news.status))
            else:
                self._parents.pop(news.token, None)
                self._spawn(self._remove(news.token), self._cleaning)

    def _launched(self, news: Launched) -> None:
        entry = self._entries.get(news.token)
        if entry is None:
            # It waited for an import for so long that whoever wanted it is gone.
            processes.kill(news.pid)
        elif entry.pidfd < 0:
            entry.parent = news.parent
            self._attach(entry, news.pid, news.started)
            self._tell_waiting(news.token, "")
            if news.failure and self._events:
                self._events.broken(news.token, news.failure)

    def _tell_waiting(self, token: str, what: str) -> None:
        if self._events:
            self._events.waiting(token, what)

    def _ask(self, request: ToZygote) -> None:
        """What a new zygote need not be told."""
        with contextlib.suppress(ProviderUnavailable):
            self._client.send(request)

    def disconnected(self) -> None:
        """The zygote is gone; replicas live on. What was about to be forked may exist or not: see after a moment."""
        self._parents.clear()
        for entry in list(self._entries.values()):
            if entry.pidfd < 0:
                self._spawn(self._look_for(entry))

    # The life of an entry

    def _attach(self, entry: _Entry, pid: int, started: int) -> None:
        entry.pid, entry.started = pid, started
        try:
            entry.pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._spawn(self._end_unseen(entry))
            return
        asyncio.get_running_loop().add_reader(entry.pidfd, self._died, entry)
        if entry.signal:
            self._signal(entry, entry.signal)

    def _detach(self, entry: _Entry) -> None:
        if entry.pidfd >= 0:
            asyncio.get_running_loop().remove_reader(entry.pidfd)
            os.close(entry.pidfd)
            entry.pidfd = -1

    def _signal(self, entry: _Entry, number: signal.Signals) -> None:
        try:
            signal.pidfd_send_signal(entry.pidfd, number)
        except ProcessLookupError:
            _log.debug("replica %s has ended already", entry.order.replica)

    def _died(self, entry: _Entry) -> None:
        asyncio.get_running_loop().remove_reader(entry.pidfd)
        self._spawn(self._end_unseen(entry))

    async def _end_unseen(self, entry: _Entry) -> None:
        """A death seen by ourselves: the zygote, if there is one, is about to tell its status."""
        if self._client.connected:
            await asyncio.sleep(_STATUS_WAIT)
        self._ended(entry, processes.describe_end(None))

    async def _look_for(self, entry: _Entry) -> None:
        await asyncio.sleep(_STATUS_WAIT)
        if entry.pidfd >= 0 or self._entries.get(entry.order.token) is not entry:
            return
        record = read_record(self._directory(entry.order.token))
        if record and processes.is_running(record.pid, record.started):
            self._attach(entry, record.pid, record.started)
        else:
            self._ended(entry, "the zygote ended before it was started")

    def _ended(self, entry: _Entry, reason: str) -> None:
        """Tell once, then clean up behind the replica."""
        if self._entries.get(entry.order.token) is not entry:
            return
        del self._entries[entry.order.token]
        self._detach(entry)
        spec = entry.order.spec
        said = self._logs.last_line(spec.name, spec.namespace, entry.order.replica, entry.since)
        self._spawn(self._clean_up(entry), self._cleaning)
        if self._events:
            self._events.exited(entry.order.token, f"{reason}: {said}" if said else reason)

    async def _clean_up(self, entry: _Entry) -> None:
        """The zygote kills what a dead replica leaves; without one that is done here."""
        spec, token = entry.order.spec, entry.order.token
        if not self._client.connected and entry.pid:
            await asyncio.to_thread(processes.kill_leftovers, {entry.pid}, {token})
        await self._remove(token)
        if entry.parent:
            await self._remove(entry.parent)
        live = {entry.order.replica for entry in self._entries.values()}
        await asyncio.to_thread(self._logs.prune, spec.name, spec.namespace, live)

    async def _remove(self, token: str) -> None:
        """Remove a directory, unless it is that of a parent that lives, or whose replicas do: they may use paths in it."""
        used = {*self._entries, *self._parents, *(entry.parent for entry in self._entries.values())}
        if token not in used:
            await asyncio.to_thread(remove_directory, self._directory(token))

    # Earlier replicas

    def _find(self) -> list[Record]:
        """Records of replicas of this run that live; everything else is ended and its directory removed."""
        found: list[Record] = []
        dead: list[Path] = []
        sessions: set[int] = set()
        for directory in self._home.replicas.iterdir():
            record = read_record(directory)
            running = bool(record and self._is_running(record))
            if record and running and record.run_id == self._run_id:
                if not record.is_parent:  # the zygote tells of those
                    found.append(record)
                continue
            dead.append(directory)
            if record and record.boot_id == self._boot_id and (running or not processes.stat_of(record.pid)):
                sessions.add(record.pid)
        kept = {record.parent for record in found}
        dead = [directory for directory in dead if directory.name not in kept]
        if dead:
            count = processes.kill_leftovers(sessions, {directory.name for directory in dead})
            _log.info("removed %d replicas of an earlier run, %d of their processes still ran", len(dead), count)
        for directory in dead:
            remove_directory(directory)
        return found

    async def _clear_strangers(self) -> None:
        """After a reconnect: end replicas that were forked for a request that we had given up."""
        await asyncio.sleep(_STATUS_WAIT * 2)
        strangers = {path.name for path in self._home.replicas.iterdir()} - {*self._entries, *self._parents}
        records = {name: read_record(self._home.replicas / name) for name in strangers}
        # A parent of this zygote may have begun after we looked; the zygote looks after those.
        strangers -= {name for name, record in records.items() if self._may_be_new_parent(name, record)}
        running = {name: record.pid for name, record in records.items() if record and self._is_running(record)}
        sessions = {running[name] for name in strangers if name in running}
        if strangers:
            await asyncio.to_thread(processes.kill_leftovers, sessions, strangers)
        for name in strangers:
            await self._remove(name)

    def _may_be_new_parent(self, name: str, record: Record | None) -> bool:
        return name.startswith(PARENT_PREFIX) and (record is None or self._is_running(record))

    def _is_running(self, record: Record) -> bool:
        return record.boot_id == self._boot_id and processes.is_running(record.pid, record.started)

    # What a launch says

    def _launch_message(self, order: Order, address: str) -> Launch:
        spec, limits = order.spec, limits_of(order.spec)
        return Launch(
            order=order,
            run_id=self._run_id,
            directory=str(self._directory(order.token)),
            address=address,
            log_directory=str(self._logs.directory(spec.name, spec.namespace)),
            log_bytes=limits.log_bytes,
            environ={**self._inherited, **_function_environment(spec), **_limit_environment(limits)},
            hide=tuple(os.path.realpath(path) for path in (self._home.path, self._home.run)),
            keep=tuple(program_paths([*program_of(spec).split(" "), *spec.env_vars.values()])),
            show=(os.path.realpath(self._home.builds),),
            read_only=spec.read_only_root,
            new_privileges=limits.new_privileges,
        )

    def _directory(self, token: str) -> Path:
        return Path(os.path.realpath(self._home.replicas)) / token

    def _address(self, token: str) -> str:
        return f"unix:{self._directory(token) / 'http.sock'}"

    def _spawn(self, work: Coroutine[Any, Any, None], group: set[asyncio.Task[None]] | None = None) -> None:
        """Run beside everything else; `group` is waited for when closing, the others are cancelled."""
        tasks = self._tasks if group is None else group
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(lambda done: _finished(done, tasks))


def create_process_provider(
    settings: ServeSettings, environ: Mapping[str, str], probe: Probe = readiness.probe
) -> LocalProvider:
    """The process provider of a server, not started. `environ` is the server's environment; its PENSTOCK_RUN_ID names this
    start of the server. Raises ProviderUnavailable where there is no Linux."""
    if sys.platform != "linux":
        raise ProviderUnavailable("the process provider needs Linux; use --provider memory to look around")
    home = settings.paths
    parts = Parts(
        store=SqliteStore(home.state_db),
        secrets=SecretFiles(home.secrets),
        runtime=ProcessRuntime(home, environ),
        probe=probe,
    )
    return LocalProvider(parts)


def _finished(task: asyncio.Task[None], tasks: set[asyncio.Task[None]]) -> None:
    tasks.discard(task)
    if not task.cancelled() and task.exception():
        _log.error("looking after a replica failed", exc_info=task.exception())


def _function_environment(spec: FunctionSpec) -> dict[str, str]:
    """What the specification says, and the function's own name. Lines are dated by the log, so the watchdog need not."""
    environ = {"prefix_logs": "false"}
    environ.update({name: value for name, value in spec.env_vars.items() if name not in _OURS})
    environ["OPENFAAS_NAME"], environ["OPENFAAS_NAMESPACE"] = spec.name, spec.namespace
    if spec.env_process:
        environ.pop("function_process", None)
        environ["fprocess"] = spec.env_process
    return environ


def _limit_environment(limits: Limits) -> dict[str, str]:
    """Limits as the watchdog reads them."""
    numbers = {
        "PENSTOCK_RLIMIT_MEMORY": limits.memory,
        "PENSTOCK_RLIMIT_CPU": limits.cpu_seconds,
        "PENSTOCK_RLIMIT_NOFILE": limits.open_files,
        "PENSTOCK_RLIMIT_NPROC": limits.processes,
    }
    return {name: str(number) for name, number in numbers.items() if number}


def _cpu_seconds(sessions: set[int]) -> dict[int, float]:
    return {stat.pid: stat.cpu_seconds for stat in processes.all_processes() if stat.session in sessions}


def _usage(sessions: set[int], before: Mapping[int, float], span: float) -> Usage:
    """Processor time since `before`, and memory now, of all processes of these sessions."""
    now = _cpu_seconds(sessions)
    spent = sum(seconds - before.get(pid, 0.0) for pid, seconds in now.items())
    return Usage(cpu_millis=1000 * spent / span, memory_bytes=sum(processes.memory_of(pid) for pid in now))
