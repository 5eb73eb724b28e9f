"""The node-local provider: desired state in a store, replicas through a runtime, and the verbs that connect them.

The control process owns one; `process` and `memory` differ only in the store, the secrets and the runtime they hand in.
Waking needs no disk: `scale` acts at once and is made durable behind; deploy, update and delete are durable when they return.
"""

from __future__ import annotations

import asyncio
import builtins
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from dataclasses import dataclass, field

import msgspec

from penstock.core.scalelabels import initial_replicas
from penstock.errors import (
    AlreadyExists,
    FunctionNotFound,
    InvalidInput,
    NamespaceNotFound,
    ProviderUnavailable,
    SecretNotFound,
)
from penstock.model import (
    DEFAULT_NAMESPACE,
    Capabilities,
    Function,
    FunctionEvent,
    FunctionSpec,
    LogLine,
    LogQuery,
    Namespace,
    ProviderInfo,
    Secret,
    Usage,
)
from penstock.providers.clock import Clock, SystemClock
from penstock.providers.keeper import Keeper
from penstock.providers.members import Crew, Probe
from penstock.providers.runtimes.base import Running, Runtime
from penstock.providers.secretfiles import SecretStore
from penstock.providers.store import FunctionRecord, Store
from penstock.providers.validation import (
    already_exists,
    check_namespace_object,
    check_pipeline_spec,
    check_replicas,
    check_same_kind,
    check_secret,
    check_secrets_exist,
    check_spec,
    refuse_logs,
    refuse_scaling,
)
from penstock.providers.watching import Watchers

STOP_TIMEOUT = 30.0
"""Seconds that `close` waits for replicas to drain before it ends them by force."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parts:
    """What a local provider is made of."""

    store: Store
    secrets: SecretStore
    runtime: Runtime
    probe: Probe
    clock: Clock = field(default_factory=SystemClock)
    stop_timeout: float = STOP_TIMEOUT


class LocalProvider:
    """A `penstock.providers.base.Provider` for one machine."""

    def __init__(self, parts: Parts) -> None:
        self._store = parts.store
        self._secrets = parts.secrets
        self._runtime = parts.runtime
        self._clock = parts.clock
        self.capabilities: Capabilities = parts.runtime.capabilities
        self._stop_timeout = parts.stop_timeout
        self._functions: dict[str, Keeper] = {}
        self._leaving: set[Keeper] = set()
        self._exit = asyncio.Event()
        self._pipelining = asyncio.Lock()
        """Changes of pipelines, one after the other: two at once could make a cycle that neither is."""
        self._namespaces: dict[str, Namespace] = {DEFAULT_NAMESPACE: Namespace(name=DEFAULT_NAMESPACE)}
        self._watchers = Watchers(self._view, lambda: list(self._functions))
        self._crew = Crew(
            runtime=parts.runtime,
            probe=parts.probe,
            clock=parts.clock,
            publish=self._watchers.publish,
            read_secret=parts.secrets.read,
        )

    async def start(self) -> None:
        desired = await self._store.open()
        for namespace in desired.namespaces:
            self._namespaces[namespace.name] = namespace
        for record in desired.functions:
            self._namespaces.setdefault(record.spec.namespace, Namespace(name=record.spec.namespace))
            self._functions[record.spec.key] = Keeper(record, self._crew)
        try:
            running = await self._runtime.start(self)
        except ProviderUnavailable:
            await self._store.close()
            raise
        self.capabilities = self._runtime.capabilities
        for found in running:
            self._adopt(found)
        for keeper in list(self._functions.values()):
            keeper.active = True
            keeper.reconcile()

    async def close(self) -> None:
        keepers = [*self._functions.values(), *self._leaving]
        for keeper in keepers:
            keeper.retire_all(settle=0.0)
        if not await self._drained(self._stop_timeout):
            for token in list(self._crew.by_token):
                self._runtime.stop(token, kill=True)
            await self._drained(5.0)
        for task in list(self._crew.tasks):
            task.cancel()
        await asyncio.gather(*self._crew.tasks, return_exceptions=True)
        self._watchers.close()
        await self._runtime.close()
        await self._store.close()

    def info(self) -> ProviderInfo:
        return self._runtime.info()

    async def health(self) -> None:
        await self._runtime.health()

    async def lead(self, holder: str, seconds: float) -> bool:
        """One control process has the home to itself."""
        return True

    # Functions

    async def deploy(self, spec: FunctionSpec) -> None:
        async with self._turn(spec):
            await self._deploy(spec)

    async def update(self, spec: FunctionSpec) -> None:
        async with self._turn(spec):
            await self._update(spec)

    def _turn(self, spec: FunctionSpec) -> AbstractAsyncContextManager[object]:
        return self._pipelining if spec.stages else nullcontext()

    async def _deploy(self, spec: FunctionSpec) -> None:
        self._check(spec)
        if spec.key in self._functions:
            raise already_exists(spec)
        desired = 0 if spec.stages else initial_replicas(spec.labels)
        record = FunctionRecord(spec=spec, desired=desired, generation=1, created_at=self._clock.now())
        keeper = self._functions[spec.key] = Keeper(record, self._crew)
        try:
            await self._store.put_function(record)
        except BaseException:
            if self._functions.get(spec.key) is keeper:
                del self._functions[spec.key]
            raise
        if self._functions.get(spec.key) is keeper:
            keeper.active = True
            keeper.reconcile()

    async def _update(self, spec: FunctionSpec) -> None:
        keeper = self._keeper(spec.name, spec.namespace)
        check_same_kind(spec, keeper.spec)
        self._check(spec)
        keeper.accepted += 1
        generation = keeper.accepted
        record = msgspec.structs.replace(keeper.record(), spec=spec, generation=generation)
        await self._store.put_function(record)
        keeper.apply(spec, generation)
        if self._functions.get(spec.key) is keeper:
            keeper.reconcile()

    async def delete(self, name: str, namespace: str) -> None:
        keeper = self._keeper(name, namespace)
        del self._functions[keeper.key]
        try:
            await self._store.remove_function(name, namespace)
        except BaseException:
            self._functions.setdefault(keeper.key, keeper)
            raise
        self._leaving.add(keeper)
        keeper.retire_all()
        self._runtime.forget_logs(name, namespace, keep=self._replica_ids(keeper.key))
        self._runtime.forget(name, namespace)
        self._forget_if_gone(keeper)

    async def get(self, name: str, namespace: str, usage: bool = False) -> Function:
        keeper = self._keeper(name, namespace)
        if not usage or keeper.spec.stages:
            return keeper.view()
        used = await self._runtime.usage(keeper.tokens())
        return msgspec.structs.replace(keeper.view(), usage=used)

    async def usages(self, keys: Sequence[str]) -> Mapping[str, Usage]:
        keepers = [keeper for key in keys if (keeper := self._functions.get(key))]
        starting = frozenset(token for keeper in keepers for token in keeper.starting())
        return await self._runtime.usages({keeper.key: keeper.tokens() for keeper in keepers}, starting)

    async def list(self, namespace: str) -> list[Function]:
        self._check_namespace(namespace)
        keepers = [keeper for keeper in self._functions.values() if keeper.spec.namespace == namespace]
        return [keeper.view() for keeper in sorted(keepers, key=lambda keeper: keeper.spec.name)]

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
        keeper = self._keeper(name, namespace)
        refuse_scaling(keeper.spec)
        check_replicas(replicas)
        keeper.desired = replicas
        keeper.reconcile()
        # Behind the caller's back on purpose: a request waits for this replica, and losing the number costs nothing.
        self._store.set_desired(name, namespace, replicas).add_done_callback(_report)

    def watch(self) -> AsyncIterator[FunctionEvent]:
        return self._watchers.stream()

    async def logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        keeper = self._keeper(query.name, query.namespace)
        refuse_logs(keeper.spec)
        async with aclosing(self._runtime.logs(query, lambda: self._functions.get(keeper.key) is keeper)) as lines:
            async for line in lines:
                yield line

    # Secrets

    async def list_secrets(self, namespace: str) -> builtins.list[str]:
        self._check_namespace(namespace)
        return self._secrets.names(namespace)

    async def create_secret(self, secret: Secret) -> None:
        check_secret(secret)
        self._check_namespace(secret.namespace)
        if secret.name in self._secrets.names(secret.namespace):
            raise AlreadyExists(f"secret {secret.name!r} already exists in namespace {secret.namespace!r}")
        self._secrets.write(secret.name, secret.namespace, secret.value)

    async def update_secret(self, secret: Secret) -> None:
        check_secret(secret)
        self._check_secret_exists(secret.name, secret.namespace)
        self._secrets.write(secret.name, secret.namespace, secret.value)

    async def delete_secret(self, name: str, namespace: str) -> None:
        self._check_secret_exists(name, namespace)
        self._secrets.remove(name, namespace)

    # Namespaces

    async def list_namespaces(self) -> builtins.list[Namespace]:
        others = sorted(name for name in self._namespaces if name != DEFAULT_NAMESPACE)
        return [self._namespaces[name] for name in (DEFAULT_NAMESPACE, *others)]

    async def create_namespace(self, namespace: Namespace) -> None:
        check_namespace_object(namespace)
        if namespace.name in self._namespaces:
            raise AlreadyExists(f"namespace {namespace.name} already exists")
        self._namespaces[namespace.name] = namespace
        try:
            await self._store.put_namespace(namespace)
        except BaseException:
            self._namespaces.pop(namespace.name, None)
            raise

    async def update_namespace(self, namespace: Namespace) -> None:
        self._check_namespace(namespace.name)
        check_namespace_object(namespace)
        await self._store.put_namespace(namespace)
        if namespace.name in self._namespaces:  # else it was deleted meanwhile
            self._namespaces[namespace.name] = namespace

    async def delete_namespace(self, name: str) -> None:
        self._check_namespace(name)
        if name == DEFAULT_NAMESPACE:
            raise InvalidInput(f"namespace: {name} is the default one and cannot be deleted")
        if any(keeper.spec.namespace == name for keeper in self._functions.values()):
            raise InvalidInput(f"namespace: {name} still has functions, delete them first")
        namespace = self._namespaces.pop(name)
        try:
            await self._store.remove_namespace(name)
        except BaseException:
            self._namespaces[name] = namespace
            raise
        self._secrets.remove_namespace(name)

    # What the runtime reports

    def exited(self, token: str, reason: str) -> None:
        self._exit.set()
        found = self._crew.by_token.get(token)
        if found:
            keeper, member = found
            keeper.exited(member, reason)
            self._forget_if_gone(keeper)

    def addressed(self, token: str, address: str) -> None:
        if found := self._crew.by_token.get(token):
            found[0].addressed(found[1], address)

    def waiting(self, token: str, what: str) -> None:
        if found := self._crew.by_token.get(token):
            found[0].waiting(found[1], what)

    def broken(self, token: str, why: str) -> None:
        if found := self._crew.by_token.get(token):
            found[0].broken(found[1], why)

    def available(self) -> None:
        for keeper in list(self._functions.values()):
            keeper.retry_launches()

    def _adopt(self, found: Running) -> None:
        """Replicas of functions as they are or were keep serving; those of deleted functions end."""
        keeper = self._functions.get(found.spec.key)
        if keeper and found.deployed == keeper.created_at.isoformat() and found.generation <= keeper.generation:
            keeper.adopt(found)
        else:
            self._runtime.stop(found.token, kill=True)

    def _forget_if_gone(self, keeper: Keeper) -> None:
        """The last replica of a deleted function has ended: so do its logs."""
        if keeper in self._leaving and not keeper.members:
            self._leaving.discard(keeper)
            self._runtime.forget_logs(keeper.spec.name, keeper.spec.namespace, keep=self._replica_ids(keeper.key))

    def _replica_ids(self, key: str) -> set[str]:
        """Replicas of every keeper of this key, the deployed one and those still draining."""
        keepers = [keeper for keeper in self._leaving if keeper.key == key]
        if key in self._functions:
            keepers.append(self._functions[key])
        return {replica for keeper in keepers for replica in keeper.members}

    async def _drained(self, timeout: float) -> bool:
        """Wait until no replica is left; False after `timeout` seconds."""
        limit = asyncio.ensure_future(self._clock.sleep(timeout))
        try:
            while self._crew.by_token and not limit.done():
                self._exit.clear()
                exit_seen = asyncio.ensure_future(self._exit.wait())
                await asyncio.wait({limit, exit_seen}, return_when=asyncio.FIRST_COMPLETED)
                exit_seen.cancel()
        finally:
            limit.cancel()
        return not self._crew.by_token

    def _view(self, key: str) -> Function | None:
        keeper = self._functions.get(key)
        return keeper.view() if keeper else None

    def _keeper(self, name: str, namespace: str) -> Keeper:
        keeper = self._functions.get(f"{name}.{namespace}")
        if not keeper or keeper.spec.name != name:
            raise FunctionNotFound(f"function {name}.{namespace} not found")
        return keeper

    def _check(self, spec: FunctionSpec) -> None:
        if spec.stages:
            check_pipeline_spec(spec, (keeper.spec for keeper in self._functions.values()))
            self._check_namespace(spec.namespace)
            return
        check_spec(spec)
        self._check_namespace(spec.namespace)
        check_secrets_exist(spec.secrets, self._secrets.names(spec.namespace), spec.namespace)
        self._runtime.check(spec)

    def _check_namespace(self, name: str) -> None:
        if name not in self._namespaces:
            raise NamespaceNotFound(f"namespace {name} not found")

    def _check_secret_exists(self, name: str, namespace: str) -> None:
        if namespace not in self._namespaces or name not in self._secrets.names(namespace):
            raise SecretNotFound(f"secret {name!r} not found in namespace {namespace!r}")


def _report(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and done.exception():
        _log.error("a replica count could not be stored: %s", done.exception())
