"""One function's replicas: decides which to start, restart and drain, and does it through the runtime.

The local provider has one keeper per deployed function and calls `reconcile` after every change; exits, probes and timers
call it as well. Nothing here polls, except the readiness probe of a replica that is starting; what is asked of ready ones is in
`penstock.providers.healthwatch`.
"""

from __future__ import annotations

import secrets

from penstock.core.duration import format_duration
from penstock.core.health import readiness_of
from penstock.errors import ProviderUnavailable
from penstock.model import Function, FunctionSpec
from penstock.providers.healthwatch import watch_health
from penstock.providers.limits import limits_of
from penstock.providers.members import Crew, Member
from penstock.providers.runtimes.base import Order, Running
from penstock.providers.store import FunctionRecord

SETTLE = 0.2
"""Seconds between a replica leaving the routes and its SIGTERM, so that workers have heard of it before it stops accepting."""
BACKOFF_FIRST = 0.1
BACKOFF_LAST = 30.0
"""Seconds before the first restart and the longest wait: restarts double it in between. Kubernetes begins at 10 s, which
hides a program's first crash from nobody and costs everyone."""
HEALTHY_AFTER = 60.0
"""A replica that has been ready for this many seconds starts its back-off anew."""
UNADDRESSED = "it has no address yet"
PROBE_FAST, PROBE_SLOW = 0.001, 0.25
"""Seconds between probes of a replica that starts, at least and at most."""
PROBE_SHARE = 1 / 16
"""Of the time for which it has been asked, how much to wait before it is asked again: a forked replica, ready within a few
milliseconds, is found at once, and no start is made longer by more than this part of itself."""


class Keeper:
    """Keeps as many ready replicas of the latest generation as wanted."""

    def __init__(self, record: FunctionRecord, crew: Crew) -> None:
        self.spec = record.spec
        self.desired = record.desired
        self.generation = record.generation
        self.created_at = record.created_at
        self.accepted = record.generation
        """Newest generation handed to the store; it becomes `generation` once it is durable."""
        self.active = False
        """False until the deployment is durable, and again after deletion: nothing is started then."""
        self.members: dict[str, Member] = {}
        self._crew = crew
        self._settle = SETTLE

    @property
    def key(self) -> str:
        return self.spec.key

    def view(self) -> Function:
        replicas = tuple(member.view() for member in self.members.values())
        return Function(spec=self.spec, desired=self.desired, replicas=replicas, created_at=self.created_at)

    def tokens(self) -> list[str]:
        """Of replicas that run or begin to."""
        return [member.token for member in self.members.values() if member.token]

    def starting(self) -> list[str]:
        """Those of `tokens` that have not been ready yet."""
        return [member.token for member in self.members.values() if member.token and member.token != member.served]

    def record(self) -> FunctionRecord:
        return FunctionRecord(
            spec=self.spec, desired=self.desired, generation=self.generation, created_at=self.created_at
        )

    def apply(self, spec: FunctionSpec, generation: int) -> None:
        """A newer specification; older answers of the store that arrive late are ignored."""
        if generation > self.generation:
            self.spec = spec
            self.generation = generation

    def retire_all(self, settle: float = SETTLE) -> None:
        """The function was deleted or the provider closes: drain everything, start nothing."""
        self.active = False
        self._settle = settle
        self.reconcile()

    def reconcile(self) -> None:
        """Bring what there is closer to what is wanted; synchronous, so that a wake starts a replica at once."""
        wanted = self.desired if self.active else 0
        staying = [member for member in self.members.values() if not member.leaving]
        fresh = [member for member in staying if member.generation == self.generation]
        for member in _surplus(fresh, wanted):
            self._retire(member)
        for _ in range(wanted - len(fresh)):
            self._launch(self._new_member())
        replaced = sum(member.state == "ready" for member in fresh) >= wanted
        for member in staying:
            if member.generation != self.generation and (replaced or not member.proven):
                self._retire(member)
        self._crew.publish(self.key)

    def adopt(self, running: Running) -> None:
        """Take over a replica that an earlier control process started."""
        member = Member(id=running.replica, spec=running.spec, generation=running.generation, restarts=running.restarts)
        member.token, member.address, member.started_at = running.token, running.address, running.started_at
        # It served before as far as anyone knows: keep it until a newer one is ready.
        member.proven = True
        self.members[member.id] = member
        self._crew.by_token[member.token] = (self, member)
        age = (self._crew.clock.now() - running.started_at).total_seconds()
        self._begin_probing(member, max(0.0, age))

    def addressed(self, member: Member, address: str) -> None:
        """What was launched has an address now, or another than before."""
        if not member.leaving and member.address != address:
            member.cancel_tasks()
            member.state, member.address = "starting", address
            self._begin_probing(member)
            self._crew.publish(self.key)

    def waiting(self, member: Member, what: str) -> None:
        """What the runtime waits for is the reason why a replica is not ready; empty when it waits no more."""
        over, member.waiting = member.waiting, what
        if member.state == "starting" and what != over and (what or member.reason == over):
            member.reason = what or ("" if member.address else UNADDRESSED)
            self._crew.publish(self.key)

    def broken(self, member: Member, why: str) -> None:
        """It will not become ready, and says why."""
        member.state, member.failure, member.reason = "failed", why, why
        self._crew.publish(self.key)

    def unready(self, member: Member, why: str) -> None:
        """Its repeated readiness check fails: out of the routes until it passes again, even when no other replica is ready."""
        self._forgive(member)
        reason = f"its readiness check fails: {why}"
        if (member.state, member.reason) != ("starting", reason):
            member.state, member.reason = "starting", reason
            self._crew.publish(self.key)

    def ready(self, member: Member) -> None:
        """It may be sent requests from now on."""
        member.state, member.reason, member.proven, member.served = "ready", "", True, member.token
        member.ready_since = self._crew.clock.monotonic()
        self.reconcile()

    def condemn(self, member: Member, why: str) -> None:
        """Its liveness check has failed too often: out of the routes now, ended by force, and started again by `exited`."""
        self._forgive(member)
        member.cancel_tasks()
        member.state, member.reason, member.cause = "backoff", why, why
        member.timer = self._crew.spawn(self._end(member))
        self._crew.publish(self.key)

    def exited(self, member: Member, reason: str) -> None:
        """What ran in this place has ended."""
        member.cancel_tasks()
        self._crew.by_token.pop(member.token, None)
        member.token = member.address = ""
        if member.leaving:
            self.members.pop(member.id, None)
            self._crew.publish(self.key)
        else:
            self._back_off(member, member.cause or reason)
            self.reconcile()

    def retry_launches(self) -> None:
        """The runtime is available again: those that waited only for it start now."""
        for member in list(self.members.values()):
            if member.unlaunched and not member.leaving:
                member.cancel_tasks()
                self._launch(member)
        self._crew.publish(self.key)

    def _new_member(self) -> Member:
        member = Member(id=f"{self.spec.name}-{secrets.token_hex(4)}", spec=self.spec, generation=self.generation)
        self.members[member.id] = member
        return member

    def _launch(self, member: Member) -> None:
        member.token = secrets.token_hex(6)
        member.unlaunched = False
        try:
            address = self._crew.runtime.launch(self._order(member))
        except ProviderUnavailable as error:
            member.unlaunched, member.token = True, ""
            self._back_off(member, str(error))
            return
        member.state, member.address = "starting", address
        member.reason = member.waiting = member.failure = member.cause = ""
        member.started_at = self._crew.clock.now()
        self._crew.by_token[member.token] = (self, member)
        self._begin_probing(member)

    def _begin_probing(self, member: Member, age: float = 0.0) -> None:
        """At once, or not before the runtime tells its address. `age`: seconds since it was started."""
        member.begun_at = self._crew.clock.monotonic() - age
        if member.address:
            member.timer = self._crew.spawn(self._until_ready(member))
        else:
            member.reason = member.waiting or UNADDRESSED

    def _order(self, member: Member) -> Order:
        spec = member.spec
        try:
            values = {name: self._crew.read_secret(name, spec.namespace) for name in spec.secrets}
        except KeyError as error:
            raise ProviderUnavailable(f"secret {error.args[0]!r} no longer exists; create it again") from error
        return Order(
            token=member.token,
            replica=member.id,
            spec=spec,
            generation=member.generation,
            deployed=self.created_at.isoformat(),
            restarts=member.restarts,
            secrets=values,
        )

    async def _until_ready(self, member: Member) -> None:
        plan = readiness_of(member.spec)
        check = plan.ready_check(self._crew.runtime.check_of(member.token))
        passed, start = 0, member.start
        rest = member.begun_at + plan.initial_delay - self._crew.clock.monotonic()
        if rest > 0:
            member.reason = f"its first readiness check comes {format_duration(plan.initial_delay)} after its start"
            await self._crew.clock.sleep(rest)
        begun = self._crew.clock.monotonic()
        while True:
            answer = await self._crew.probe(member.address, check)
            if member.start != start or member.leaving:
                return  # a probe may answer although it was cancelled
            passed = passed + 1 if answer is True and not member.failure else 0
            if passed >= plan.successes:
                break
            if passed:
                await self._crew.clock.sleep(plan.period)
                continue
            said = answer if isinstance(answer, str) else ""
            member.reason = member.failure or member.waiting or said or "its port does not answer yet"
            asked_for = self._crew.clock.monotonic() - begun
            await self._crew.clock.sleep(min(max(PROBE_FAST, asked_for * PROBE_SHARE), PROBE_SLOW))
        member.timer = None
        member.watches = watch_health(member, self._crew, self)
        self.ready(member)

    def _back_off(self, member: Member, reason: str) -> None:
        """Restart later, the later the more often it ended in a row."""
        self._forgive(member)
        delay = min(BACKOFF_FIRST * 2 ** min(member.failures, 20), BACKOFF_LAST)
        member.failures += 1
        member.state, member.reason = "backoff", reason
        member.timer = self._crew.spawn(self._restart_after(member, delay))

    def _forgive(self, member: Member) -> None:
        """Forget earlier failures of one that was ready for long enough."""
        if member.state == "ready" and self._crew.clock.monotonic() - member.ready_since >= HEALTHY_AFTER:
            member.failures = 0

    async def _restart_after(self, member: Member, delay: float) -> None:
        await self._crew.clock.sleep(delay)
        member.timer = None
        member.restarts += not member.unlaunched
        self._launch(member)
        self._crew.publish(self.key)

    def _retire(self, member: Member) -> None:
        """Out of the routes now, asked to end shortly after, ended by force when its grace is over."""
        served = member.state == "ready"
        member.cancel_tasks()
        member.leaving = True
        if not member.token:  # it waits for its next start, nothing runs
            del self.members[member.id]
            return
        member.state = "draining"
        member.timer = self._crew.spawn(self._drain(member, self._settle if served else 0.0))

    async def _end(self, member: Member) -> None:
        """By force, once workers have heard that it is out of the routes."""
        await self._crew.clock.sleep(SETTLE)
        self._crew.runtime.stop(member.token, kill=True)

    async def _drain(self, member: Member, settle: float) -> None:
        if settle:
            await self._crew.clock.sleep(settle)
        if not member.proven or not member.address or member.cause:
            # It has no request that it could finish.
            self._crew.runtime.stop(member.token, kill=True)
            return
        if self.active and self.desired == 0 and member.generation == self.generation:
            self._crew.runtime.rest(member.token)
        else:
            self._crew.runtime.stop(member.token)
        await self._crew.clock.sleep(limits_of(member.spec).grace)
        self._crew.runtime.stop(member.token, kill=True)


def _surplus(members: list[Member], wanted: int) -> list[Member]:
    """Which of too many to drain: those that do not serve first, then the youngest."""
    if len(members) <= wanted:
        return []
    ready_first = sorted(members, key=lambda member: member.state != "ready")
    return ready_first[wanted:]
