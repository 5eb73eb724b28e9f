"""The options that verbs share: gateway and credentials, namespace, output format, K=V lists.

Used by every verb that speaks to a gateway. `connected` gathers the first group into one `Target`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from penstock.cli.target import DEFAULT_GATEWAY, Target, authorization_for, gateway_url
from penstock.core.duration import parse_duration
from penstock.core.names import check_namespace
from penstock.errors import InvalidInput, PenstockError
from penstock.stack.defaults import default_file

F = TypeVar("F", bound=Callable[..., Any])


class Duration(click.ParamType[float]):
    """Seconds from `30`, `500ms` or `1m30s`; never negative."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds that the text means."""
        if isinstance(value, float):
            return value
        try:
            seconds = parse_duration(str(value))
        except InvalidInput as error:
            self.fail(str(error), param, ctx)
        if seconds < 0:
            self.fail(f"{value!r} is negative", param, ctx)
        return seconds


DURATION = Duration()


def namespace_option(function: F) -> F:
    """`-n/--namespace`."""
    text = "Namespace of the function; the gateway's default when not given."
    return click.option("-n", "--namespace", default="", metavar="NAME", help=text)(function)


def output_option(function: F) -> F:
    """`-o/--output table|json` with `-j/--json` as its short form; the verb receives `output`."""
    function = click.option("-j", "--json", "as_json", is_flag=True, help="The same as --output json.")(function)
    choice = click.Choice(["table", "json"])
    function = click.option("-o", "--output", type=choice, default="table", show_default=True, help="Output format.")(
        function
    )

    @functools.wraps(function)
    def command(*args: Any, as_json: bool, output: str, **rest: Any) -> Any:
        return function(*args, output="json" if as_json else output, **rest)

    return command  # type: ignore[return-value]


def connected(
    *,
    token: bool = True,
    timeout: str = "60s",
    timeout_help: str = "Longest wait for the gateway; 0 waits for ever.",
    of_stack: bool = False,
) -> Callable[[F], F]:
    """`-g`, `-k`, `--tls-no-verify` and `--timeout`; the verb receives one `target`.

    With `token=False` no gateway credentials are looked up: a function must never see them. With `of_stack` a stack file may say
    which gateway: the one that `-f/--yaml` names, or the one in the current directory (contract watchdog-cli §4.1). In a group
    with `gateway_options` what was given to the group counts where the verb itself was not told.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(
            *args: Any, gateway: str | None, tls_no_verify: bool, timeout: float, token: str | None = None, **rest: Any
        ) -> Any:
            gateway = gateway or of_group("gateway")
            token = token or of_group("token")
            if of_stack:
                gateway = _with_stack(gateway, rest.pop("stack_yaml"))
            url = gateway_url(gateway, os.environ)
            namespace = rest.pop("namespace", "")
            target = Target(
                url=url,
                namespace=check_namespace(namespace) if namespace else "",
                authorization=authorization_for(url, token, os.environ) if takes_token else "",
                verify_tls=not (tls_no_verify or of_group("tls_no_verify")),
                timeout=timeout,
            )
            return function(*args, target=target, **rest)

        for option in reversed(options):
            command = option(command)
        return command  # type: ignore[return-value]

    takes_token = token
    options = [
        _GATEWAY,
        _TLS,
        click.option("--timeout", type=DURATION, default=timeout, show_default=True, help=timeout_help),
    ]
    if takes_token:
        options.insert(1, _TOKEN)
    if of_stack:
        options.insert(0, _STACK)
    return decorate


_GATEWAY = click.option(
    "-g", "--gateway", metavar="URL", help="Gateway; else $PENSTOCK_URL, $OPENFAAS_URL, http://127.0.0.1:8080."
)
_TOKEN = click.option("-k", "--token", metavar="TOKEN", help="Bearer token, in place of a saved login.")
_TLS = click.option("--tls-no-verify", is_flag=True, help="Do not check the gateway's certificate.")
_STACK = click.option(
    "-f",
    "--yaml",
    "stack_yaml",
    metavar="FILE",
    help="Stack file that names the gateway. [default: stack.yaml, else stack.yml]",
)


def gateway_options(function: F) -> F:
    """`-g`, `-k` and `--tls-no-verify` of a group, for all of its verbs that are `connected`."""
    return _GATEWAY(_TOKEN(_TLS(function)))


def of_group(name: str) -> Any:
    """What was given to the group of this verb; None where it has no such option."""
    group = click.get_current_context().parent
    return group.params.get(name) if group else None


def _with_stack(gateway: str | None, file: str | None) -> str | None:
    """The gateway of a stack file, where no other was given and it names another than the default, which most files do.

    The file of the current directory may be one that we cannot read: then it says nothing. Raises what `load_stack` raises.
    """
    if gateway or not (file or default_file(Path())):
        return gateway
    from penstock.stack.load import load_stack  # late, with PyYAML

    try:
        named = load_stack(file, os.environ).gateway.strip()
        url = gateway_url(named, {}) if named else DEFAULT_GATEWAY
    except PenstockError as error:
        if file:
            raise
        note(f"Warning: the stack file here does not say which gateway is meant: {error}")
        return None
    return None if url == DEFAULT_GATEWAY else url


def pairs(items: Iterable[str], flag: str) -> dict[str, str]:
    """`K=V` arguments as a mapping; the last of equal keys wins. Raises InvalidInput."""
    return dict(split_pair(item, flag) for item in items)


def split_pair(item: str, flag: str) -> tuple[str, str]:
    """`K=V` in two at the first `=`; the value may be empty. Raises InvalidInput."""
    key, equals, value = item.partition("=")
    if not equals or not key.strip():
        raise InvalidInput(f"{flag} {item!r}: write it as KEY=VALUE")
    if any("\udc80" <= char <= "\udcff" for char in item):  # how Python shows bytes that are not UTF-8
        raise InvalidInput(f"{flag} {item!r}: holds bytes that are not UTF-8")
    return key.strip(), value


def note(message: str) -> None:
    """A line for people, on stderr: stdout carries results only."""
    click.echo(message, err=True)


def warn_plaintext(target: Target) -> None:
    """Say so when a secret is about to cross a network unencrypted."""
    if target.plaintext:
        note(f"Warning: {target.url} is not HTTPS, others on the network can read what is sent.")
