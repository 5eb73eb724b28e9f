"""The options that verbs share: gateway and credentials, namespace, output format, K=V lists.

Used by every verb that speaks to a gateway. `connected` gathers the first group into one `Target`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from penstock.cli.target import Target, authorization_for, gateway_url
from penstock.core.duration import parse_duration
from penstock.core.names import check_namespace
from penstock.errors import InvalidInput

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
    *, token: bool = True, timeout: str = "60s", timeout_help: str = "Longest wait for the gateway; 0 waits for ever."
) -> Callable[[F], F]:
    """`-g`, `-k`, `--tls-no-verify` and `--timeout`; the verb receives one `target`.

    With `token=False` no gateway credentials are looked up: a function must never see them.
    """

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def command(
            *args: Any, gateway: str | None, tls_no_verify: bool, timeout: float, token: str | None = None, **rest: Any
        ) -> Any:
            url = gateway_url(gateway, os.environ)
            namespace = rest.pop("namespace", "")
            target = Target(
                url=url,
                namespace=check_namespace(namespace) if namespace else "",
                authorization=authorization_for(url, token, os.environ) if takes_token else "",
                verify_tls=not tls_no_verify,
                timeout=timeout,
            )
            return function(*args, target=target, **rest)

        for option in reversed(options):
            command = option(command)
        return command  # type: ignore[return-value]

    takes_token = token
    options = [
        click.option(
            "-g", "--gateway", metavar="URL", help="Gateway; else $PENSTOCK_URL, $OPENFAAS_URL, http://127.0.0.1:8080."
        ),
        click.option("--tls-no-verify", is_flag=True, help="Do not check the gateway's certificate."),
        click.option("--timeout", type=DURATION, default=timeout, show_default=True, help=timeout_help),
    ]
    if takes_token:
        options.insert(
            1, click.option("-k", "--token", metavar="TOKEN", help="Bearer token, in place of a saved login.")
        )
    return decorate


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
