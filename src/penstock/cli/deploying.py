"""How functions get to a gateway, one or a whole stack: what is sent in which order, what is waited for, what is told of failures.

Called by the verbs `deploy`, `up` and `store deploy`. Speaks to the gateway in the order that every compatible one understands:
PUT, and POST only after 404 (contract watchdog-cli §4.2). Then it watches each function until a replica answers.
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
from penstock.model import FunctionSpec
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

    template = find_template(function.lang, directory, native=True)
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


@dataclass
class _Outcome:
    """What has become of each function."""

    names: Sequence[str]
    done: list[str] = field(default_factory=list)
    failed: dict[str, PenstockError] = field(default_factory=dict)

    def fail(self, name: str, error: PenstockError) -> None:
        self.failed[name] = error
        if len(self.names) > 1:
            note(f"Error: function {name!r}: {error}")

    def summary(self) -> str:
        left = [name for name in self.names if name not in self.done and name not in self.failed]
        parts = (("deployed", self.done), ("failed", list(self.failed)), ("not tried", left))
        return "; ".join(f"{word}: {', '.join(names)}" for word, names in parts if names)

    def check(self) -> None:
        """Raises PenstockError when a function has failed: its own reason where there is one function."""
        if not self.failed:
            return
        if len(self.names) == 1:
            [(name, error)] = self.failed.items()
            raise PenstockError(f"function {name!r}: {error}") from error
        raise PenstockError(f"{len(self.failed)} of {len(self.names)} functions failed ({self.summary()})")


def deploy_all(target: Target, planned: Sequence[Deployment], strategy: Strategy, *, wait: bool) -> None:
    """Deploy one after the other, whatever becomes of those before, then wait for all of them together.

    Each function is announced on stdout. Raises PenstockError at the end when some have failed, naming them and those that are
    deployed; at once, with its own class, when there is no gateway or it asks for a login.
    """
    talk(target, lambda gateway: _deploy_all(gateway, planned, strategy, wait))


async def _deploy_all(gateway: Gateway, planned: Sequence[Deployment], strategy: Strategy, wait: bool) -> None:
    outcome = _Outcome([deployment.name for deployment in planned])
    try:
        for deployment in planned:
            await _deploy_one(gateway, deployment, strategy, outcome)
        if wait:
            await _wait_for_all(gateway, [item for item in planned if item.name in outcome.done], outcome)
        for item in planned:
            if item.name in outcome.done and item.spec is not None and item.spec.stages:
                await note_missing(gateway, item.spec)
    except (GatewayUnavailable, Unauthorized) as error:
        raise type(error)(f"{error} ({outcome.summary()})" if outcome.done or outcome.failed else str(error)) from error
    except asyncio.CancelledError:
        note(f"Interrupted ({outcome.summary()})")
        raise
    outcome.check()


async def _deploy_one(gateway: Gateway, deployment: Deployment, strategy: Strategy, outcome: _Outcome) -> None:
    click.echo(f"Deploying: {deployment.name}.")
    if deployment.spec is None:
        outcome.fail(deployment.name, deployment.fault or PenstockError("there is nothing to deploy"))
        return
    there = gateway.within(deployment.namespace)
    builds = _NativeBuilds(deployment.spec, there.target)
    try:
        builds.hold()
        reply = await send(there, body(deployment.spec), strategy)
    except (GatewayUnavailable, Unauthorized):
        raise
    except PenstockError as error:
        outcome.fail(deployment.name, error)
        return
    outcome.done.append(deployment.name)
    announce(there.target, deployment.name, reply)


class _NativeBuilds:
    """The builds that a function will run from, which must stay where they are."""

    def __init__(self, spec: FunctionSpec, target: Target) -> None:
        self._deployed = Deployed(builds_root(os.environ))
        self._builds = self._deployed.builds_in((spec.env_process, *spec.env_vars.values()))
        self._place = "\0".join((target.url, target.namespace, spec.name))

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

    async def one(deployment: Deployment, show: Callable[[str], None]) -> None:
        try:
            there = gateway.within(deployment.namespace)
            await wait_until_ready(there, deployment.name, lambda text: None)
            if deployment.spec is not None:
                _NativeBuilds(deployment.spec, there.target).settle()
        except PenstockError as error:
            outcome.done.remove(deployment.name)
            outcome.fail(deployment.name, error)
        waiting.discard(deployment.name)
        show(_waiting_for(sorted(waiting)))

    with spinner(_waiting_for(names)) as show:
        await asyncio.gather(*(one(deployment, show) for deployment in planned))


def _waiting_for(names: Sequence[str]) -> str:
    return f"Waiting for {', '.join(names[:5])}{' and others' if len(names) > 5 else ''} to be ready"


def announce(target: Target, name: str, reply: Reply) -> None:
    """Say where a function that was accepted is found, in the lines that scripts read."""
    suffix = f".{target.namespace}" if target.namespace else ""
    click.echo(f"\nDeployed. {reply.status} {reply.reason}.\nURL: {target.url}/function/{name}{suffix}\n")


async def send(gateway: Gateway, document: Mapping[str, Any], strategy: Strategy) -> Reply:
    """Ask for one function. Raises the domain error that a refusal stands for."""
    if strategy == "update":
        reply = await gateway.request("PUT", _PATH, body=document)
        if reply.status != 404:
            return _accepted(reply)
    if strategy == "replace":
        reply = await gateway.request("DELETE", _PATH, body=gateway.named(functionName=document["service"]))
        if reply.status != 404:
            _accepted(reply)
    return _accepted(await gateway.request("POST", _PATH, body=document))


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
