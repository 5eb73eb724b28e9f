"""How functions get to a gateway, one or a whole stack: what is sent in which order, what is waited for, what is told of failures.

Called by the verbs `deploy`, `up` and `store deploy`. Speaks to the gateway, of several functions at once, in the order that every
compatible one understands: PUT, and POST only after 404 (contract watchdog-cli §4.2). Then it watches each function until a replica
answers.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

from penstock.builders.model import Built
from penstock.builders.native.deployed import Deployed
from penstock.builders.native.store import builds_root
from penstock.builders.plan import BuildFlags, plan
from penstock.builders.tag import Style, tagged
from penstock.cli.client import Gateway, Reply, decode, refusal, status_of, talk
from penstock.cli.options import note
from penstock.cli.output import spinner
from penstock.cli.pipelines import note_missing
from penstock.cli.schema import FunctionStatus, Instance, Raw
from penstock.cli.target import Target
from penstock.errors import GatewayUnavailable, InvalidInput, NotFound, PenstockError, Unauthorized
from penstock.model import FunctionSpec, Resources
from penstock.stack.compare import differences
from penstock.stack.model import Stack, StackFunction
from penstock.stack.payload import Base, Overrides, body, is_runnable, pipeline_specification, specification
from penstock.templates.catalogue import find_template

Strategy = Literal["update", "replace", "create"]
"""What is done about a function that exists."""

_PATH = "/system/functions"
_ACCEPTED = (200, 201, 202)
_SILENT = (404, 405, 501)
"""Statuses of a gateway that has no `/system/info`."""
_POLL = 0.2
"""Seconds between two looks at a function that is not ready yet."""
_CALM_LOOKS = 2
"""Looks in a row that must find it ready: just after an update only the old replicas are there, and they are ready."""
AT_ONCE = 8
"""Functions that are sent at a time: enough for the way there to cost nothing, and few enough for a small gateway."""
_EACH_TIME = ("classic", "serializing", "streaming")
"""Modes that start the program for each request."""
_DEPLOYED, _SAME, _FAILED, _NOT_TRIED = "deployed", "unchanged", "failed", "not tried"
_SENT = "deployed, but not known to be ready"
_MIDWAY = "perhaps deployed, since no answer was waited for"
_UNANSWERED = "perhaps deployed, since there was no answer"
_STATES = (_DEPLOYED, _SAME, _SENT, _MIDWAY, _UNANSWERED, _FAILED, _NOT_TRIED)
_HOPELESS_RESTARTS = 3
"""A program that fell over this often at its start will not be waited for any longer."""


# What is to be deployed


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """What decides about all functions of a stack, beside the flags laid over them."""

    native: bool = False
    """Whether the gateway runs programs of its machine: then a function with `lang` needs a native build."""
    built: Mapping[str, Built] = field(default_factory=dict)
    """Builds by the names of their functions; native ones that are not here are looked for where they are kept."""
    tag: Style = "latest"
    read_template: bool = True
    """Whether the program line of `./template/<lang>` is sent where the stack file has none."""
    directory: Path = field(default_factory=Path.cwd)
    """Where relative paths begin."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One function on its way: what is to be deployed, or why nothing is."""

    name: str
    namespace: str = ""
    spec: FunctionSpec | None = None
    fault: PenstockError | None = None


def deployments(stack: Stack, over: Overrides, circumstances: Circumstances | None = None) -> list[Deployment]:
    """A deployment for each function of a stack, in its order, and then for each pipeline. What is wrong with one is kept with it,
    since the others go on."""
    found = []
    circumstances = circumstances or Circumstances()
    for function in stack.functions:
        namespace = over.namespace or function.namespace
        try:
            base = _base(function, stack.copy, circumstances)
            spec = specification(function, over, base, circumstances.directory)
            _check_runnable(function, spec)
        except PenstockError as error:
            found.append(Deployment(name=function.name, namespace=namespace, fault=error))
        else:
            found.append(Deployment(name=function.name, namespace=namespace, spec=spec))
    for pipeline in stack.pipelines:
        spec = pipeline_specification(pipeline, over)
        found.append(Deployment(name=pipeline.name, namespace=spec.namespace, spec=spec))
    return found


def _check_runnable(function: StackFunction, spec: FunctionSpec) -> None:
    """Raises InvalidInput when there is nothing to be run."""
    if not is_runnable(spec):
        raise InvalidInput(
            f"{function.where}: nothing to run: give it `fprocess`, `image`, a Python `handler`, or `lang` and `handler`"
        )


def _base(function: StackFunction, copy: tuple[str, ...], circumstances: Circumstances) -> Base:
    """What the build, or else the template, of a function brings."""
    built = circumstances.built.get(function.name)
    if built is None and circumstances.native and function.lang and not function.fprocess:
        built = _native_build(function, copy, circumstances.directory)
    if built is not None:
        return Base(image=built.image, fprocess=built.fprocess, environment=built.environment)
    image = function.image
    if image and "@" not in image:
        image = tagged(image, circumstances.tag, circumstances.directory / function.handler)
    program = template_program(function.lang, circumstances.directory) if circumstances.read_template else ""
    return Base(image=image, fprocess=program)


def _native_build(function: StackFunction, copy: tuple[str, ...], directory: Path) -> Built:
    from penstock.builders.native.builder import NativeBuilder  # late, with all toolchains

    try:
        template = find_template(function.lang, directory, native=True)
    except (NotFound, InvalidInput) as error:
        raise type(error)(f"{function.lang_where}: {error}") from error
    request = plan(function, template, BuildFlags(), copy, image=False)
    built = NativeBuilder(os.environ).latest(request)
    if built is None:
        raise NotFound(
            f"{function.where}: is not built yet, or has changed since: run `penstock up`, or `penstock build` and then deploy;"
            " flags of the build need not be repeated"
        )
    return built


def template_program(lang: str, directory: Path) -> str:
    """The program line of a template in `directory/template`; empty for one that is not there, whose images have their own."""
    if not lang or lang.lower() == "dockerfile":
        return ""
    try:
        template = find_template(lang, directory)
    except NotFound:
        return ""
    return "" if template.shipped else template.fprocess


async def provider_of(gateway: Gateway) -> str:
    """What a gateway calls its provider, such as `penstock-process`; empty for one that has no way to say it.

    Raises GatewayUnavailable for one that cannot answer now, such as one that is just starting.
    """
    reply = await gateway.request("GET", "/system/info")
    if reply.status in _SILENT:
        return ""
    if reply.status != 200:
        raise GatewayUnavailable(
            f"the gateway at {gateway.target.url} does not say what its provider is: {refusal(reply)};"
            " try again when `penstock health` says that it is up"
        )
    provider = decode(reply.body, Raw).get("provider")
    name = provider.get("provider") if isinstance(provider, dict) else provider
    return name if isinstance(name, str) else ""


# How it is deployed


class _Outcome:
    """What has become of each function."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.faults: dict[str, PenstockError] = {}
        self._state: dict[str, str] = dict.fromkeys(names, _NOT_TRIED)

    def note(self, name: str, state: str) -> None:
        self._state[name] = state

    def fail(self, name: str, error: PenstockError, state: str = _FAILED) -> None:
        self.faults[name] = error
        self._state[name] = state

    def of(self, *states: str) -> list[str]:
        """Names of those in one of these states, in the order of the file."""
        return [name for name in self.names if self._state[name] in states]

    def summary(self) -> str:
        found = ((state, self.of(state)) for state in _STATES)
        return "; ".join(f"{state}: {', '.join(names)}" for state, names in found if names)

    def check(self) -> None:
        """Raises PenstockError when a function has failed: its own reason where there is one function."""
        if not self.faults:
            return
        if len(self.names) == 1:
            [(name, error)] = self.faults.items()
            raise PenstockError(f"function {name!r}: {error}") from error
        raise PenstockError(f"{len(self.faults)} of {len(self.names)} functions failed ({self.summary()})")


def deploy_all(
    target: Target, planned: Sequence[Deployment], strategy: Strategy, *, wait: bool, leave_same: bool = False
) -> list[str]:
    """Deploy some at a time, whatever becomes of the others, then wait for all of them together.

    Each function is announced on stdout, in their order. With `leave_same` one that runs as it is wanted is left alone; their names
    are returned. Raises PenstockError at the end when some have failed, naming them and those that are deployed; at once, with its own
    class, when there is no gateway or it asks for a login. Ctrl-C says what is deployed and what is not.
    """
    outcome = _Outcome([deployment.name for deployment in planned])
    leave_same = leave_same and strategy == "update"
    talk(target, lambda gateway: _deploy_all(gateway, planned, _Sender(gateway, strategy, outcome, leave_same), wait))
    return outcome.of(_SAME)


async def _deploy_all(gateway: Gateway, planned: Sequence[Deployment], sender: _Sender, wait: bool) -> None:
    outcome = sender.outcome
    try:
        await sender.send_all([item for item in planned if not _is_pipeline(item)])
        await sender.send_all([item for item in planned if _is_pipeline(item)])
        if wait:
            sent = outcome.of(_DEPLOYED)
            await _wait_for_all(gateway, [item for item in planned if item.name in sent], outcome)
        for item in planned:
            if item.spec is not None and item.spec.stages and item.name in outcome.of(_DEPLOYED):
                await note_missing(gateway, item.spec)
    except (GatewayUnavailable, Unauthorized) as error:
        told = f" ({outcome.summary()})" if outcome.of(_DEPLOYED, _SAME, _FAILED) else ""
        raise type(error)(f"{error}{told}") from error
    except asyncio.CancelledError:
        note(f"Interrupted ({outcome.summary()})")
        raise
    outcome.check()


def _is_pipeline(deployment: Deployment) -> bool:
    return deployment.spec is not None and bool(deployment.spec.stages)


@dataclass(frozen=True)
class _Sender:
    """Sends functions, at most AT_ONCE at a time, and tells of them in their order."""

    gateway: Gateway
    strategy: Strategy
    outcome: _Outcome
    leave_same: bool
    over: list[PenstockError] = field(default_factory=list)
    """Why no more are sent."""

    async def send_all(self, planned: Sequence[Deployment]) -> None:
        """Raises GatewayUnavailable and Unauthorized, when what had been begun has ended."""
        room = asyncio.Semaphore(AT_ONCE)
        tasks = [asyncio.create_task(self._within(room, deployment)) for deployment in planned]
        try:
            for deployment, task in zip(planned, tasks, strict=True):
                if not self.over:
                    click.echo(f"Deploying: {deployment.name}.")
                await asyncio.wait((task,))  # where Ctrl-C does not end this one alone, and so make room for another
                self._tell(deployment, task.result())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self.over:
            raise self.over[0]

    async def _within(self, room: asyncio.Semaphore, deployment: Deployment) -> Reply | None:
        """The gateway's answer; None where there is none, and `outcome` knows why."""
        async with room:
            if self.over:
                return None
            name = deployment.name
            try:
                reply = await self._send(deployment)
                self.outcome.note(name, _DEPLOYED if reply else _SAME)
                return reply
            except GatewayUnavailable as error:
                self._stop(name, error, _UNANSWERED)
            except Unauthorized as error:
                self._stop(name, error, _FAILED)
            except PenstockError as error:
                self.outcome.fail(name, error)
            except OSError as error:
                fault = PenstockError(f"{error.filename or builds_root(os.environ)}: {error.strerror or error}")
                self.outcome.fail(name, fault)
            return None

    def _stop(self, name: str, error: PenstockError, state: str) -> None:
        self.over.append(error)
        self.outcome.note(name, state)

    async def _send(self, deployment: Deployment) -> Reply | None:
        """None where nothing had to be done."""
        if deployment.spec is None:
            raise deployment.fault or PenstockError("there is nothing to deploy")
        there = self.gateway.within(deployment.namespace)
        builds = _NativeBuilds(deployment.spec, there.target)
        if self.leave_same and builds.tell_all(deployment.spec) and await _runs_as_wanted(there, deployment.spec):
            return None
        builds.hold()
        self.outcome.note(deployment.name, _MIDWAY)
        return await send(there, body(deployment.spec), self.strategy)

    def _tell(self, deployment: Deployment, reply: Reply | None) -> None:
        name, there = deployment.name, self.gateway.within(deployment.namespace).target
        if reply is not None:
            announce(there, name, reply)
        elif name in self.outcome.faults:
            if len(self.outcome.names) > 1:
                note(f"Error: function {name!r}: {self.outcome.faults[name]}")
        elif name in self.outcome.of(_SAME):
            click.echo(f"\nUnchanged, left as it is.\nURL: {_url(there, name)}\n")


async def _runs_as_wanted(gateway: Gateway, wanted: FunctionSpec) -> bool:
    """Whether a function is deployed with this very specification, and is not in trouble."""
    try:
        status = status_of(await gateway.function(wanted.name))
    except NotFound:
        return False
    deployed = specification_of(status)
    same = wanted.env_process == deployed.env_process and not differences(wanted, deployed, "all")
    return same and is_settled(status)


class _NativeBuilds:
    """The builds that a function will run from, which must stay where they are."""

    def __init__(self, spec: FunctionSpec, target: Target) -> None:
        self._deployed = Deployed(builds_root(os.environ))
        self._builds = self._deployed.builds_in((spec.env_process, *spec.env_vars.values()))
        self._place = "\0".join((target.url, target.namespace, spec.name))

    def tell_all(self, spec: FunctionSpec) -> bool:
        """Whether the specification alone says what runs: a build is known by what it is made of, an image by its digest, and a
        program line starts its program anew for each request. What is behind a tag, or imported from a folder, may have changed."""
        if spec.stages:
            return True
        if spec.image:
            return "@" in spec.image
        return bool(self._builds) or (bool(spec.env_process) and spec.env_vars.get("mode", "classic") in _EACH_TIME)

    def hold(self) -> None:
        """Raises NotFound when one is gone."""
        for build in self._builds:
            self._deployed.hold(build, self._place, time.time())

    def settle(self) -> None:
        for build in self._builds:
            self._deployed.settle(build, self._place)


async def _wait_for_all(gateway: Gateway, planned: Sequence[Deployment], outcome: _Outcome) -> None:
    names = [deployment.name for deployment in planned]
    waiting = set(names)
    for name in names:
        outcome.note(name, _SENT)

    async def one(deployment: Deployment, show: Callable[[str], None]) -> None:
        name = deployment.name
        try:
            there = gateway.within(deployment.namespace)
            await wait_until_ready(there, name, lambda text: None)
            if deployment.spec is not None:
                _NativeBuilds(deployment.spec, there.target).settle()
            outcome.note(name, _DEPLOYED)
        except PenstockError as error:
            outcome.fail(name, error)
            if len(outcome.names) > 1:
                note(f"Error: function {name!r}: {error}")
        waiting.discard(name)
        show(_waiting_for(sorted(waiting)))

    with spinner(_waiting_for(names)) as show:
        await asyncio.gather(*(one(deployment, show) for deployment in planned))


def _waiting_for(names: Sequence[str]) -> str:
    return f"Waiting for {', '.join(names[:5])}{' and others' if len(names) > 5 else ''} to be ready"


def announce(target: Target, name: str, reply: Reply) -> None:
    """Say where a function that was accepted is found, in the lines that scripts read."""
    click.echo(f"\nDeployed. {reply.status} {reply.reason}.\nURL: {_url(target, name)}\n")


def _url(target: Target, name: str) -> str:
    return f"{target.url}/function/{name}{'.' + target.namespace if target.namespace else ''}"


async def send(gateway: Gateway, document: Mapping[str, Any], strategy: Strategy) -> Reply:
    """Ask for one function. Raises the domain error that a refusal stands for."""
    if strategy == "update":
        reply = await gateway.request("PUT", _PATH, body=document)
        if reply.status != 404:
            return _accepted(reply)
    if strategy != "replace":
        return _accepted(await gateway.request("POST", _PATH, body=document))
    reply = await gateway.request("DELETE", _PATH, body=gateway.named(functionName=document["service"]))
    if reply.status == 404:
        return _accepted(await gateway.request("POST", _PATH, body=document))
    _accepted(reply)
    try:
        return _accepted(await gateway.request("POST", _PATH, body=document))
    except PenstockError as error:
        raise type(error)(f"{error}; what was there before is deleted, as --replace asks") from error


def _accepted(reply: Reply) -> Reply:
    if reply.status not in _ACCEPTED:
        raise refusal(reply)
    return reply


async def wait_until_ready(gateway: Gateway, name: str, show: Callable[[str], None]) -> None:
    """Return when the function is ready, telling `show` what it waits for. Raises PenstockError with the replica's own reason
    when it is not, or not in time; the time begins anew whenever a pull or a start gets on."""
    seen = "the gateway does not show it yet"
    calm = 0
    allowed = gateway.target.timeout or math.inf
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(loop.time() + allowed) as limit:
            while calm < _CALM_LOOKS:
                try:
                    function = status_of(await gateway.function(name))
                except NotFound:
                    await asyncio.sleep(_POLL)
                    continue
                _give_up_on(function)
                calm = calm + 1 if is_settled(function) else 0
                if seen != (seen := _reason(function)) and not _restarting(function):
                    limit.reschedule(loop.time() + allowed)
                show(f"Waiting for {name} to be ready: {seen}")
                await asyncio.sleep(0 if calm >= _CALM_LOOKS else _POLL)
    except TimeoutError:
        waited = f"{gateway.target.timeout:g} s"
        raise PenstockError(f"{name!r} was accepted but is not ready after {waited}: {seen}") from None


def specification_of(status: FunctionStatus) -> FunctionSpec:
    """What a function that is deployed was asked to be."""
    limits, requests = (
        Resources(memory=part.memory, cpu=part.cpu) if part else Resources()
        for part in (status.limits, status.requests)
    )
    return FunctionSpec(
        name=status.name,
        image=status.image,
        env_process=status.env_process,
        env_vars=status.env_vars or {},
        constraints=tuple(status.constraints or ()),
        secrets=tuple(status.secrets or ()),
        labels=status.labels or {},
        annotations=status.annotations or {},
        limits=limits,
        requests=requests,
        read_only_root=status.read_only_root_filesystem,
        stages=tuple(status.pipeline or ()),
    )


def is_settled(function: FunctionStatus) -> bool:
    """Whether a function is ready, with no replica still on its way up. One that wants no replicas is."""
    changing = any(replica.state not in ("ready", "draining") for replica in function.instances or ())
    return not changing and function.available_replicas >= min(function.replicas, 1)


def _give_up_on(function: FunctionStatus) -> None:
    for replica in function.instances or ():
        if replica.state == "failed" or (replica.state == "backoff" and replica.restarts >= _HOPELESS_RESTARTS):
            raise PenstockError(f"{function.name!r} was accepted but cannot start: {_words(replica)}")


def _restarting(function: FunctionStatus) -> bool:
    """Whether a replica has ended before it was ready: what changes then need not lead anywhere."""
    return any(replica.restarts and replica.state != "ready" for replica in function.instances or ())


def _reason(function: FunctionStatus) -> str:
    waiting = [replica for replica in function.instances or () if replica.state != "ready"]
    if waiting:
        return _words(waiting[0])
    return f"{function.available_replicas} of {function.replicas} replicas answer"


def _words(replica: Instance) -> str:
    return replica.reason or f"replica {replica.id} is in state {replica.state!r}"
