"""`penstock deploy`: a program, or an image, becomes a function.

Speaks to the gateway in the order that every compatible one understands: PUT, and POST only after 404 (contract
watchdog-cli §4.2). Then it watches the function until a replica answers.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

import click
from click.core import ParameterSource

from penstock.cli.client import Gateway, Reply, refusal, status_of, talk
from penstock.cli.commands import Verb
from penstock.cli.options import connected, namespace_option, pairs
from penstock.cli.output import spinner
from penstock.cli.schema import FunctionStatus, Instance
from penstock.cli.target import Target
from penstock.core.names import check_function_name
from penstock.errors import InvalidInput, NotFound, PenstockError
from penstock.providers.containers.labels import CAPABILITIES, HTTP_PORT, WATCHDOG, ZERO
from penstock.watchdog.settings import IMPORTING_MODES, MODES

_PATH = "/system/functions"
_ACCEPTED = (200, 201, 202)
_POLL = 0.2
"""Seconds between two looks at a function that is not ready yet."""
_CALM_LOOKS = 2
"""Looks in a row that must find it ready: just after an update only the old replicas are there, and they are ready."""
_HOPELESS_RESTARTS = 3
"""A program that fell over this often at its start will not be waited for any longer."""


Strategy = Literal["update", "replace", "create"]


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The flags that describe the function."""

    name: str
    image: str
    fprocess: str
    handler: str
    mode: str | None
    env: tuple[str, ...]
    label: tuple[str, ...]
    annotation: tuple[str, ...]
    secret: tuple[str, ...]
    constraint: tuple[str, ...]
    watchdog: str | None
    http_port: int | None
    zero: str | None
    capability: tuple[str, ...]
    readonly: bool
    cpu_limit: str
    memory_limit: str
    cpu_request: str
    memory_request: str


@click.command("deploy", cls=Verb)
@click.option("--name", required=True, help="Name of the function.")
@click.option("--fprocess", default="", metavar="PROGRAM", help="Program with arguments, split at spaces; no shell.")
@click.option(
    "--handler",
    default="",
    metavar="REF",
    help="Python code to import: a .py file, a folder, or module:attribute; short for --env handler=... --mode python.",
)
@click.option("--image", default="", help="Image to run it in, for providers that run images.")
@click.option(
    "--watchdog",
    type=click.Choice(("inject", "image")),
    help="Put our watchdog into the image, or run the image as it is. [default: what the image looks like]",
)
@click.option(
    "--http-port",
    type=click.IntRange(1, 65535),
    metavar="N",
    help="The image serves HTTP on this port by itself; nothing else is needed.",
)
@click.option(
    "--zero",
    type=click.Choice(("remove", "stop", "pause")),
    help="What becomes of the last container at zero replicas: a paused one wakes in milliseconds. [default: remove]",
)
@click.option(
    "--capability",
    multiple=True,
    metavar="NAME",
    help="Capability that the image needs as root, such as CHOWN or SETUID; may be given many times.",
)
@click.option(
    "--mode",
    type=click.Choice(MODES),
    help="How the watchdog runs the program; short for --env mode=...",
)
@click.option("-e", "--env", multiple=True, metavar="K=V", help="Environment variable; may be given many times.")
@click.option("-l", "--label", multiple=True, metavar="K=V", help="Label, such as com.openfaas.scale.min=2.")
@click.option("--annotation", multiple=True, metavar="K=V", help="Annotation; may be given many times.")
@click.option("--secret", multiple=True, metavar="NAME", help="Secret the function may read; may be given many times.")
@click.option("--constraint", multiple=True, metavar="RULE", help="Placement rule for the provider.")
@click.option("--replace", is_flag=True, help="Delete the function first instead of updating it.")
@click.option("--update/--no-update", default=True, show_default=True, help="Update a function that exists.")
@click.option("--readonly", is_flag=True, help="Make the root file system read-only.")
@click.option("--cpu-limit", default="", metavar="QUANTITY", help="At most this much CPU, such as 500m.")
@click.option("--memory-limit", default="", metavar="QUANTITY", help="At most this much memory, such as 128Mi.")
@click.option("--cpu-request", default="", metavar="QUANTITY", help="CPU to reserve.")
@click.option("--memory-request", default="", metavar="QUANTITY", help="Memory to reserve.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until a replica is ready.")
@namespace_option
@connected(
    timeout="1m",
    timeout_help="Longest wait for the gateway, and for a replica that makes no progress; 0 waits for ever.",
)
def command(target: Target, replace: bool, update: bool, wait: bool, **flags: Any) -> None:
    """Deploy a function, or update the one of that name.

    The program is started from the words of --fprocess; nothing passes through a shell. Pipes and quotes need a script.

    \b
    Examples:
      penstock deploy --name words --fprocess "wc -w"
      penstock deploy --name hello --handler ./hello
      penstock deploy --name sum --image debian:12 --fprocess sha256sum --label com.openfaas.scale.min=2
      penstock deploy --name whoami --image traefik/whoami --http-port 80 --zero pause
    """
    wish = Wish(**{item.name: flags[item.name] for item in fields(Wish)})
    strategy = _strategy(replace, update, click.get_current_context())
    body = deployment(wish, target.namespace)
    reply = talk(target, lambda gateway: _deploy(gateway, body, strategy))
    suffix = f".{target.namespace}" if target.namespace else ""
    click.echo(f"\nDeployed. {reply.status} {reply.reason}.\nURL: {target.url}/function/{wish.name}{suffix}\n")
    if wait:
        with spinner(f"Waiting for {wish.name} to be ready") as show:
            talk(target, lambda gateway: _wait(gateway, wish.name, show))


def deployment(wish: Wish, namespace: str) -> dict[str, Any]:
    """The JSON body of a deployment (contract gateway §2.1): what is empty is left out, except labels and annotations.

    Raises InvalidInput for malformed `K=V` flags, unusable names and a function that would have nothing to run.
    """
    check_function_name(wish.name)
    environment = pairs(wish.env, "--env")
    if wish.mode is not None:
        environment["mode"] = wish.mode
    if wish.handler:
        environment["handler"] = handler_reference(wish.handler)
        environment.setdefault("mode", "python")
    program = wish.fprocess or environment.get("fprocess") or environment.get("function_process")
    if not program and not wish.image and environment.get("mode") not in ("static", *IMPORTING_MODES):
        raise InvalidInput(
            'nothing to run: give a program with --fprocess "PROGRAM ARGUMENTS", Python code with --handler, or an --image'
        )
    optional: dict[str, Any] = {
        "image": wish.image,
        "namespace": namespace,
        "envProcess": wish.fprocess,
        "envVars": environment,
        "constraints": list(wish.constraint),
        "secrets": list(wish.secret),
        "limits": _quantities(wish.cpu_limit, wish.memory_limit),
        "requests": _quantities(wish.cpu_request, wish.memory_request),
        "readOnlyRootFilesystem": wish.readonly,
    }
    return {
        "service": wish.name,
        **{key: value for key, value in optional.items() if value},
        "labels": _labels(wish),
        "annotations": pairs(wish.annotation, "--annotation"),
    }


def _labels(wish: Wish) -> dict[str, str]:
    """Those that were given, and those that flags stand for. Raises InvalidInput for flags that contradict each other."""
    labels = pairs(wish.label, "--label")
    port = "" if wish.http_port is None else str(wish.http_port)
    flags = (
        ("--watchdog", WATCHDOG, wish.watchdog),
        ("--http-port", HTTP_PORT, port),
        ("--zero", ZERO, wish.zero),
        ("--capability", CAPABILITIES, ",".join(wish.capability)),
    )
    for flag, label, value in flags:
        if value and not wish.image:
            raise InvalidInput(f"{flag}: is about a container; name its image with --image")
        if value and labels.setdefault(label, value) != value:
            raise InvalidInput(f"{flag} {value} and --label {label}={labels[label]} exclude each other")
    if wish.http_port is not None and (wish.fprocess or wish.watchdog == "inject"):
        raise InvalidInput(
            "--http-port: is for an image that serves HTTP by itself, which is run as it is; leave it out to run a program "
            "under the watchdog, or leave out --fprocess and --watchdog inject"
        )
    return labels


def handler_reference(reference: str) -> str:
    """An absolute path for a file or folder that exists here, whose `:attribute` is kept; anything else as it is.

    Raises InvalidInput for what looks like a path and is none.
    """
    path, colon, attribute = reference.rpartition(":")
    if not colon or "/" in attribute:
        path, colon, attribute = reference, "", ""
    if os.path.exists(path):
        return f"{os.path.abspath(path)}{colon}{attribute}"
    if path.endswith(".py") or path.startswith((".", "~")):
        raise InvalidInput(f"--handler: there is no file or folder {path!r} here")
    return reference


def _quantities(cpu: str, memory: str) -> dict[str, str]:
    return {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value}


def _strategy(replace: bool, update: bool, context: click.Context) -> Strategy:
    """What to do about a function that exists. `--replace` alone turns the default `--update` off; asking for both is an error."""
    if replace and update and context.get_parameter_source("update") is not ParameterSource.DEFAULT:
        raise InvalidInput("--replace and --update exclude each other")
    if replace:
        return "replace"
    return "update" if update else "create"


async def _deploy(gateway: Gateway, body: dict[str, Any], strategy: Strategy) -> Reply:
    if strategy == "update":
        reply = await gateway.request("PUT", _PATH, body=body)
        if reply.status != 404:
            return _accepted(reply)
    if strategy == "replace":
        reply = await gateway.request("DELETE", _PATH, body=gateway.named(functionName=body["service"]))
        if reply.status != 404:
            _accepted(reply)
    return _accepted(await gateway.request("POST", _PATH, body=body))


def _accepted(reply: Reply) -> Reply:
    if reply.status not in _ACCEPTED:
        raise refusal(reply)
    return reply


async def _wait(gateway: Gateway, name: str, show: Callable[[str], None]) -> None:
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
