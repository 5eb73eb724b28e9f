"""How a function's image is run: as it is, or its program under our watchdog, which is injected.

Pure: facts about the image and the specification go in, a plan comes out, and what cannot work is refused in words that say
what to do. Called by the docker runtime and the Swarm provider, which add what is theirs (limits, secrets, networks).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers import labels, programs
from penstock.providers.containers.capabilities import capabilities_of
from penstock.providers.containers.reference import parse
from penstock.providers.validation import program_of
from penstock.watchdog.bundle.write import PLACE
from penstock.watchdog.settings import IMPORTING_MODES, MODES, PRIVATE_VARIABLES

WATCHDOG = (f"{PLACE}/penstock-watchdog",)
"""How the injected watchdog is started: by the name that has the defaults of ours, without a log line for every request."""
FUNCTION_PORT = 8080
"""Where a watchdog listens unless its variable `port` says otherwise."""
NOBODY = "12000:12000"
"""The user of functions in images that name none, which would be root; OpenFaaS has the same for non-root functions."""

_WITHOUT_PROGRAM = (*IMPORTING_MODES, "static")


class ImageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an image says of itself."""

    reference: str
    id: str
    os: str
    architecture: str
    """As Go names it: `amd64`, `arm64`."""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environ: dict[str, str] = {}
    ports: tuple[int, ...] = ()
    """TCP ports that it exposes, in order."""
    user: str = ""
    working_dir: str = ""
    healthcheck: bool = False
    digest: str = ""
    """`sha256:…` by which the registry of the reference knows it; empty when it came from no registry."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How containers of a function are made."""

    injected: bool
    """Whether the bundle must be at PLACE."""
    port: int
    """Where the function answers HTTP."""
    entrypoint: tuple[str, ...] | None = None
    """None leaves the image's own."""
    command: tuple[str, ...] | None = None
    """None leaves the image's own."""
    environ: dict[str, str] = {}
    """On top of the image's own, which the engine adds."""
    user: str = ""
    """Empty leaves the image's own."""
    healthcheck: tuple[str, ...] | None = None
    """For orchestrators that ask: `("CMD", …)`. None leaves the image's own, whose question fits when the image runs as it is."""
    lenient_ready: bool = False
    """Whether any answer below 500 means ready: what answers is no watchdog and may know no `/_/ready`."""


def facts_of(reference: str, document: Mapping[str, Any]) -> ImageFacts:
    """What `GET /images/NAME/json` says."""
    config = document.get("Config") or {}
    pairs = (entry.partition("=") for entry in config.get("Env") or ())
    test = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    return ImageFacts(
        reference=reference,
        id=document.get("Id", ""),
        os=document.get("Os", ""),
        architecture=document.get("Architecture", ""),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        environ={name: value for name, equals, value in pairs if equals},
        ports=_tcp_ports(config.get("ExposedPorts") or {}),
        user=config.get("User") or "",
        working_dir=config.get("WorkingDir") or "",
        healthcheck=test[0] != "NONE",
        digest=_digest(reference, document.get("RepoDigests") or ()),
    )


def check_labels(spec: FunctionSpec) -> None:
    """Refuse what can be refused without having the image, its name included. Raises InvalidInput."""
    parse(spec.image)
    _one_of(spec, labels.WATCHDOG, ("inject", "image"))
    _one_of(spec, labels.ZERO, ("remove", "stop", "pause"))
    capabilities_of(spec)
    port = spec.labels.get(labels.HTTP_PORT, "")
    if port and not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 1 << 16):
        raise InvalidInput(f"labels: {labels.HTTP_PORT}={port[:64]!r} must be a port from 1 to 65535")
    if port and spec.labels.get(labels.WATCHDOG) == "inject":
        raise InvalidInput(
            f"labels: {labels.HTTP_PORT} runs the image as it is, {labels.WATCHDOG}=inject does not; leave one of them out"
        )
    if not port and _number(spec.env_vars.get("port", "")) == 0:
        raise InvalidInput(f"envVars: port: 0 would be any port; leave it out ({FUNCTION_PORT} is used) or name one")


def plan_of(spec: FunctionSpec, facts: ImageFacts) -> Plan:
    """The plan for a function of this image. Raises InvalidInput that says what to do."""
    check_labels(spec)
    if facts.os not in ("linux", ""):
        raise InvalidInput(
            f"image: {spec.image} is for {facts.os[:64]}, functions are Linux programs; use an image for Linux"
        )
    if spec.labels.get(labels.HTTP_PORT):
        return _served_by_itself(spec, facts)
    decision = spec.labels.get(labels.WATCHDOG)
    if decision == "image" or (decision is None and _runs_as_it_is(spec, facts)):
        return _as_it_is(spec, facts, _watchdog_port(spec, facts))
    if decision is None:
        _refuse_servers(spec, facts)
    return _injected(spec, facts)


# As it is


def _runs_as_it_is(spec: FunctionSpec, facts: ImageFacts) -> bool:
    if programs.has_watchdog(facts.entrypoint, facts.command):
        return True
    asked = program_of(spec) or spec.env_vars.get("mode") in _WITHOUT_PROGRAM
    return FUNCTION_PORT in facts.ports and not asked


def _served_by_itself(spec: FunctionSpec, facts: ImageFacts) -> Plan:
    watchdog = spec.labels.get(labels.WATCHDOG) == "image" or programs.has_watchdog(facts.entrypoint, facts.command)
    if program_of(spec) and not watchdog:
        raise InvalidInput(
            f"envProcess: nothing would run it, {labels.HTTP_PORT} serves {spec.image} as it is; leave one of them out, or add "
            f"the label {labels.WATCHDOG}=image when the image has a watchdog of its own"
        )
    return _as_it_is(spec, facts, int(spec.labels[labels.HTTP_PORT]))


def _as_it_is(spec: FunctionSpec, facts: ImageFacts, port: int) -> Plan:
    if not facts.entrypoint and not facts.command:
        raise InvalidInput(
            f"image: {spec.image} names no program to start (ENTRYPOINT, CMD), so it cannot run as it is; "
            "name a program with envProcess (--fprocess)"
        )
    return Plan(
        injected=False,
        port=port,
        environ=_with_program(spec, facts, program_of(spec)),
        lenient_ready=not programs.has_watchdog(facts.entrypoint, facts.command),
    )


# Injected


def _injected(spec: FunctionSpec, facts: ImageFacts) -> Plan:
    mode = _mode(spec, facts)
    given = program_of(spec) or programs.variable(facts.environ)
    program = (
        given
        if given or mode in _WITHOUT_PROGRAM
        else programs.own_program(spec.image, facts.entrypoint, facts.command)
    )
    environ = {"prefix_logs": "false"} if "prefix_logs" not in facts.environ else {}
    environ.update(_with_program(spec, facts, program))
    environ["OPENFAAS_NAME"], environ["OPENFAAS_NAMESPACE"] = spec.name, spec.namespace
    return Plan(
        injected=True,
        port=_watchdog_port(spec, facts),
        entrypoint=WATCHDOG,
        command=(),
        environ=environ,
        user="" if facts.user else NOBODY,
        healthcheck=("CMD", *WATCHDOG, "--run-healthcheck"),
    )


def _refuse_servers(spec: FunctionSpec, facts: ImageFacts) -> None:
    """An image that serves a port of its own would never answer as a program that is started for each request."""
    if not facts.ports or FUNCTION_PORT in facts.ports or program_of(spec) or spec.env_vars.get("mode"):
        return
    shown = ", ".join(map(str, facts.ports[:8]))
    raise InvalidInput(
        f"image: {spec.image} serves port {shown} by itself: serve it with --http-port {facts.ports[0]} (label "
        f"{labels.HTTP_PORT}: {facts.ports[0]!r}), or name a program for each request with envProcess (--fprocess)"
    )


def _mode(spec: FunctionSpec, facts: ImageFacts) -> str:
    """Of the injected watchdog. A variable that an image has for its own purposes shall not steer it unseen."""
    if "mode" in spec.env_vars:
        return spec.env_vars["mode"]
    mode = facts.environ.get("mode", "")
    if mode and mode not in MODES:
        raise InvalidInput(
            f"image: {spec.image} sets mode={mode[:64]!r}, which the watchdog would read as how to run the program; "
            f"set mode in the function's environment: one of {', '.join(MODES)}"
        )
    return mode


# Shared


def _with_program(spec: FunctionSpec, facts: ImageFacts, program: str) -> dict[str, str]:
    """The function's own variables; the program wins over what specification and image say under either of its names."""
    environ = {name: value for name, value in spec.env_vars.items() if name not in PRIVATE_VARIABLES}
    if program:
        environ.pop("function_process", None)
        environ["fprocess"] = program
        if facts.environ.get("function_process"):
            environ["function_process"] = program
    return environ


def _watchdog_port(spec: FunctionSpec, facts: ImageFacts) -> int:
    """By the watchdogs' own rule: what is no port counts as the default."""
    number = _number(spec.env_vars.get("port", facts.environ.get("port", "")))
    return number if 0 < number < 1 << 16 else FUNCTION_PORT


def _number(text: str) -> int:
    """-1 for what is no number of a port's length."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else -1


def _one_of(spec: FunctionSpec, label: str, values: tuple[str, ...]) -> None:
    value = spec.labels.get(label)
    if value is not None and value not in values:
        raise InvalidInput(f"labels: {label}={value[:64]!r} must be one of {', '.join(values)}")


def _tcp_ports(exposed: Mapping[str, Any]) -> tuple[int, ...]:
    pairs = (name.partition("/") for name in exposed)
    return tuple(sorted(_number(number) for number, _, kind in pairs if kind in ("tcp", "") and _number(number) > 0))


def _digest(reference: str, known: list[str] | tuple[str, ...]) -> str:
    """Of the names by which registries know the image, that of the reference's own."""
    wanted = parse(reference)
    if wanted.digest:
        return wanted.digest
    for text in known:
        try:
            candidate = parse(text)
        except InvalidInput:
            continue
        if candidate.name == wanted.name:
            return candidate.digest
    return ""
