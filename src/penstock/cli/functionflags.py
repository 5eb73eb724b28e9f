"""The flags that say how a function is deployed, whatever it is made of. Used by the verbs `deploy`, `up` and `store deploy`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from penstock.cli.deploying import Strategy
from penstock.cli.options import pairs
from penstock.errors import InvalidInput
from penstock.model import Resources
from penstock.providers.containers.labels import CAPABILITIES, HTTP_PORT, WATCHDOG, ZERO
from penstock.stack.payload import Overrides

F = TypeVar("F", bound=Callable[..., Any])


def function_options(function: F) -> F:
    """Environment, labels, resources and the like: the verb receives `over`, without a namespace, `strategy` and `wait`."""

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        replace, update = given.pop("replace"), given.pop("update")
        over = Overrides(
            environment=pairs(given.pop("env"), "--env"),
            labels=pairs(given.pop("label"), "--label"),
            annotations=pairs(given.pop("annotation"), "--annotation"),
            secrets=given.pop("secret"),
            constraints=given.pop("constraint"),
            limits=Resources(memory=given.pop("memory_limit"), cpu=given.pop("cpu_limit")),
            requests=Resources(memory=given.pop("memory_request"), cpu=given.pop("cpu_request")),
            read_only_root=given.pop("readonly"),
        )
        return function(*args, over=over, strategy=strategy_of(replace, update), **given)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command  # type: ignore[return-value]


def strategy_of(replace: bool, update: bool) -> Strategy:
    """What to do about a function that exists, by the flags of the current verb: `--replace` alone turns the default `--update` off.

    Raises InvalidInput when both are asked for.
    """
    asked = click.get_current_context().get_parameter_source("update")
    if replace and update and asked is not click.core.ParameterSource.DEFAULT:
        raise InvalidInput("--replace and --update exclude each other")
    if replace:
        return "replace"
    return "update" if update else "create"


@dataclass(frozen=True, kw_only=True)
class ContainerFlags:
    """What the flags say of the function's container."""

    watchdog: str | None = None
    http_port: int | None = None
    zero: str | None = None
    capability: tuple[str, ...] = ()

    @property
    def given(self) -> tuple[tuple[str, str, str], ...]:
        """Each flag that was given, with the label that it stands for and its value."""
        port = "" if self.http_port is None else str(self.http_port)
        flags = (
            ("--watchdog", WATCHDOG, self.watchdog or ""),
            ("--http-port", HTTP_PORT, port),
            ("--zero", ZERO, self.zero or ""),
            ("--capability", CAPABILITIES, ",".join(self.capability)),
        )
        return tuple(flag for flag in flags if flag[2])

    def laid_over(self, labels: Mapping[str, str], fprocess: str) -> dict[str, str]:
        """Labels as they were given with those that the flags stand for. Raises InvalidInput for what contradicts each other."""
        labels = dict(labels)
        for flag, label, value in self.given:
            if labels.setdefault(label, value) != value:
                raise InvalidInput(f"{flag} {value} and --label {label}={labels[label]} exclude each other")
        if self.http_port is not None and (fprocess or self.watchdog == "inject"):
            raise InvalidInput(
                "--http-port: is for an image that serves HTTP by itself, which is run as it is; leave it out to run a program "
                "under the watchdog, or leave out --fprocess and --watchdog inject"
            )
        return labels


def container_options(function: F) -> F:
    """What is said of a function's container; the verb receives one `container`."""

    @functools.wraps(function)
    def command(*args: Any, **given: Any) -> Any:
        flags = {name: given.pop(name) for name in ("watchdog", "http_port", "zero", "capability")}
        return function(*args, container=ContainerFlags(**flags), **given)

    for option in reversed(_OF_CONTAINERS):
        command = option(command)
    return command  # type: ignore[return-value]


_OF_CONTAINERS = (
    click.option(
        "--watchdog",
        type=click.Choice(("inject", "image")),
        help="Put our watchdog into the image, or run the image as it is. [default: what the image looks like]",
    ),
    click.option(
        "--http-port",
        type=click.IntRange(1, 65535),
        metavar="N",
        help="The image serves HTTP on this port by itself; nothing else is needed.",
    ),
    click.option(
        "--zero",
        type=click.Choice(("remove", "stop", "pause")),
        help="What becomes of the last container at zero replicas: a paused one wakes in milliseconds. [default: remove]",
    ),
    click.option(
        "--capability",
        multiple=True,
        metavar="NAME",
        help="Capability that the image needs as root, such as CHOWN or SETUID; may be given many times.",
    ),
)


_OPTIONS = (
    click.option("-e", "--env", multiple=True, metavar="K=V", help="Environment variable; may be given many times."),
    click.option("-l", "--label", multiple=True, metavar="K=V", help="Label, such as com.openfaas.scale.min=2."),
    click.option("--annotation", multiple=True, metavar="K=V", help="Annotation; may be given many times."),
    click.option("--secret", multiple=True, metavar="NAME", help="Secret that may be read; may be given many times."),
    click.option("--constraint", multiple=True, metavar="RULE", help="Placement rule for the provider."),
    click.option("--readonly", is_flag=True, help="Make the root file system read-only."),
    click.option("--cpu-limit", default="", metavar="QUANTITY", help="At most this much CPU, such as 500m."),
    click.option("--memory-limit", default="", metavar="QUANTITY", help="At most this much memory, such as 128Mi."),
    click.option("--cpu-request", default="", metavar="QUANTITY", help="CPU to reserve."),
    click.option("--memory-request", default="", metavar="QUANTITY", help="Memory to reserve."),
    click.option("--replace", is_flag=True, help="Delete what exists first instead of updating it."),
    click.option("--update/--no-update", default=True, show_default=True, help="Update what exists."),
    click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until a replica is ready."),
    click.option("--network", default="", expose_value=False, hidden=True, help="Accepted for faas-cli's sake."),
)
