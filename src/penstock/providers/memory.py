"""A provider that runs nothing: functions, replicas and secrets exist in memory and behave as a script says.

For examples, demonstrations and tests of everything above a provider. It is the local provider with a runtime, a store and
secrets that touch neither disk nor process, so its replicas start, crash, back off, roll and drain like real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence, Set
from typing import Any

import msgspec

from penstock import __version__
from penstock.core.health import Check
from penstock.model import Capabilities, FunctionSpec, LogLine, LogQuery, Namespace, ProviderInfo, Usage
from penstock.providers.clock import Clock, SystemClock
from penstock.providers.local import LocalProvider, Parts
from penstock.providers.loglines import matches, select
from penstock.providers.runtimes.base import Events, Order, Running
from penstock.providers.store import Desired, FunctionRecord
from penstock.settings import ServeSettings


def always_well(path: str) -> bool | str:
    """The answer to every check."""
    return True


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """How each start of a replica goes. Times in seconds of the provider's clock, counted from the start."""

    address_after: float = 0.0
    """Until it has an address, as while an image is pulled."""
    waits_for: str = ""
    """What it says it waits for meanwhile."""
    start_delay: float = 0.0
    """Until its port answers."""
    check: Check = Check()
    """What is asked about its readiness where no annotation says."""
    health: Callable[[str], bool | str] = always_well
    """What it answers to a check of this path once its port answers: True, or what is wrong."""
    never_ready: bool = False
    """Its port never answers."""
    crash_after: float | None = None
    """Ends by itself after this time."""
    crashes: int = -1
    """How many of its starts crash, the first ones; -1 means all."""
    crash_reason: str = "exit code 1"
    stop_delay: float = 0.0
    """From the request to end until the end, unless killed."""
    lines: tuple[str, ...] = ()
    """Written to its log at each start."""
    usage: Usage = Usage()
    """In use by each running replica."""


ScriptOf = Callable[[FunctionSpec], Script]
AddressOf = Callable[[Order], str]


def fake_address(order: Order) -> str:
    """An address of the right form at which nothing listens."""
    return f"unix:/nonexistent/penstock-memory/{order.token}.sock"


class MemoryProvider(LocalProvider):
    """A `penstock.providers.base.Provider` without replicas of flesh and blood.

    `script` says for each specification how its replicas behave, `address` where they are (give the address of a real
    server to have requests answered), `clock` what time it is.
    """

    def __init__(
        self,
        script: ScriptOf = lambda spec: Script(),
        address: AddressOf = fake_address,
        clock: Clock | None = None,
    ) -> None:
        self.runtime = MemoryRuntime(script, address, clock or SystemClock())
        parts = Parts(
            store=VolatileStore(),
            secrets=SecretMemory(),
            runtime=self.runtime,
            probe=self.runtime.probe,
            clock=clock or SystemClock(),
        )
        super().__init__(parts)


def create_memory_provider(settings: ServeSettings, environ: Mapping[str, str]) -> MemoryProvider:
    """For `--provider memory`: everything becomes ready at once and nothing answers."""
    return MemoryProvider()


class MemoryRuntime:
    """Replicas that are entries of a table, driven by their scripts."""

    def __init__(self, script: ScriptOf, address: AddressOf, clock: Clock) -> None:
        self.capabilities = Capabilities(runs_images=True, runs_processes=True, usage=True)
        self.starts: list[Order] = []
        """Every launch so far, in order."""
        self._script = script
        self._address = address
        self._clock = clock
        self._events: Events | None = None
        self._live: dict[str, _Entry] = {}
        self._lines: dict[tuple[str, str], list[LogLine]] = {}
        self._written = asyncio.Event()

    def info(self) -> ProviderInfo:
        return ProviderInfo(provider="memory", orchestration="none", release=__version__)

    async def start(self, events: Events) -> list[Running]:
        self._events = events
        return []

    async def close(self) -> None:
        for entry in self._live.values():
            entry.life.cancel()

    async def health(self) -> None:
        """Memory is always there."""

    def check(self, spec: FunctionSpec) -> None:
        """Every specification can be pretended to run."""

    def launch(self, order: Order) -> str:
        script = self._script(order.spec)
        entry = _Entry(order, script, "" if script.address_after else self._address(order))
        self.starts.append(order)
        self._live[order.token] = entry
        for text in script.lines:
            self.write(order, text)
        entry.life = asyncio.get_running_loop().create_task(self._live_and_die(entry))
        return entry.address

    def check_of(self, token: str) -> Check:
        return self._live[token].script.check

    def stop(self, token: str, kill: bool = False) -> None:
        entry = self._live.get(token)
        if entry and (kill or not entry.stopping):
            entry.stopping = True
            entry.stop_after(0.0 if kill else entry.script.stop_delay)

    def rest(self, token: str) -> None:
        self.stop(token)

    def crash(self, token: str, reason: str = "signal: killed") -> None:
        """End a replica now, as `kill -9` would. Tokens are in `starts`."""
        entry = self._live[token]
        entry.end_reason = reason
        entry.stop_after(0.0)

    def write(self, order: Order, text: str) -> None:
        """Add a line to a replica's log."""
        spec = order.spec
        line = LogLine(
            name=spec.name, namespace=spec.namespace, instance=order.replica, timestamp=self._clock.now(), text=text
        )
        self._lines.setdefault((spec.name, spec.namespace), []).append(line)
        self._written.set()
        self._written = asyncio.Event()

    async def probe(self, address: str, check: Check) -> bool | str:
        """Whether the replica at this address passes a check; waits for one whose port will answer."""
        entry = next((entry for entry in self._live.values() if entry.address == address), None)
        if not entry:
            return "nothing listens at its address"
        if entry.script.never_ready:
            return "scripted never to become ready"
        await entry.ready.wait()
        return entry.script.health(check.path)

    async def logs(self, query: LogQuery, deployed: Callable[[], bool]) -> AsyncGenerator[LogLine, None]:
        lines = self._lines.setdefault((query.name, query.namespace), [])
        seen = len(lines)
        for line in select(query, lines[:seen]):
            yield line
        while query.follow and deployed():
            written = self._written
            if seen == len(lines):
                await written.wait()
            fresh, seen = lines[seen:], len(lines)
            for line in fresh:
                if matches(query, line):
                    yield line

    def forget_logs(self, name: str, namespace: str, keep: Iterable[str] = ()) -> None:
        kept = set(keep)
        lines = self._lines.pop((name, namespace), [])
        if kept:
            self._lines[name, namespace] = [line for line in lines if line.instance in kept]
        self._written.set()
        self._written = asyncio.Event()

    def forget(self, name: str, namespace: str) -> None:
        """Nothing is kept."""

    async def usage(self, tokens: Iterable[str]) -> Usage:
        used = [self._live[token].script.usage for token in tokens if token in self._live]
        return Usage(cpu_millis=sum(one.cpu_millis for one in used), memory_bytes=sum(one.memory_bytes for one in used))

    async def usages(self, tokens: Mapping[str, Sequence[str]], starting: Set[str]) -> dict[str, Usage]:
        measured = {}
        for key, each in tokens.items():
            ready = await self.usage(token for token in each if token not in starting)
            measured[key] = msgspec.structs.replace(await self.usage(each), cpu_millis=ready.cpu_millis)
        return measured

    async def _live_and_die(self, entry: _Entry) -> None:
        script = entry.script
        crashes = script.crash_after is not None and (script.crashes < 0 or entry.order.restarts < script.crashes)
        told = await self._come_up(entry)
        if not told:
            up_after = max(script.address_after, script.start_delay)
            told = await self._told(entry, max(0.0, (script.crash_after or 0.0) - up_after) if crashes else None)
        reason = "exit code 0" if told else script.crash_reason
        while told:
            told = await self._told(entry, entry.patience)
        del self._live[entry.order.token]
        if self._events:
            self._events.exited(entry.order.token, entry.end_reason or reason)

    async def _come_up(self, entry: _Entry) -> bool:
        """Get an address, then a port that answers; True when told to stop meanwhile."""
        script, token = entry.script, entry.order.token
        if script.address_after and self._events:
            self._events.waiting(token, script.waits_for)
            if await self._told(entry, script.address_after):
                return True
            entry.address = self._address(entry.order)
            self._events.waiting(token, "")
            self._events.addressed(token, entry.address)
        if script.never_ready:
            return False
        told = await self._told(entry, max(0.0, script.start_delay - script.address_after))
        if not told:
            entry.ready.set()
        return told

    async def _told(self, entry: _Entry, seconds: float | None) -> bool:
        """Let time pass (None: without end); True when told to stop meanwhile."""
        waits: set[asyncio.Task[Any]] = {asyncio.ensure_future(entry.told.wait())}
        if seconds is not None:
            waits.add(asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        told = entry.told.is_set()
        entry.told.clear()
        return told


class _Entry:
    """One pretended replica."""

    def __init__(self, order: Order, script: Script, address: str) -> None:
        self.order = order
        self.script = script
        self.address = address
        self.ready = asyncio.Event()
        self.told = asyncio.Event()
        self.stopping = False
        self.end_reason = ""
        self.patience = 0.0
        """Seconds from being told to stop until the end."""
        self.life: asyncio.Task[None]

    def stop_after(self, seconds: float) -> None:
        self.patience = seconds
        self.told.set()


class VolatileStore:
    """Desired state that is forgotten with the process."""

    async def open(self) -> Desired:
        return Desired()

    async def close(self) -> None:
        """Nothing is held."""

    def put_function(self, record: FunctionRecord) -> asyncio.Future[None]:
        return _done()

    def set_desired(self, name: str, namespace: str, desired: int) -> asyncio.Future[None]:
        return _done()

    def remove_function(self, name: str, namespace: str) -> asyncio.Future[None]:
        return _done()

    def put_namespace(self, namespace: Namespace) -> asyncio.Future[None]:
        return _done()

    def remove_namespace(self, name: str) -> asyncio.Future[None]:
        return _done()


class SecretMemory:
    """Secrets in a table; see `penstock.providers.secretfiles.SecretStore`."""

    def __init__(self) -> None:
        self._values: dict[str, dict[str, bytes]] = {}

    def names(self, namespace: str) -> list[str]:
        return sorted(self._values.get(namespace, {}))

    def read(self, name: str, namespace: str) -> bytes:
        return self._values.get(namespace, {})[name]

    def write(self, name: str, namespace: str, value: bytes) -> None:
        self._values.setdefault(namespace, {})[name] = value

    def remove(self, name: str, namespace: str) -> None:
        del self._values.get(namespace, {})[name]

    def remove_namespace(self, namespace: str) -> None:
        self._values.pop(namespace, None)


def _done() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
