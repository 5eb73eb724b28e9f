"""`penstock logs`: what a function's replicas wrote, followed as it is written (contract gateway §1.3, /system/logs)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import click
import msgspec

from penstock.cli.client import Gateway, Reply, refusal, segment, talk, unauthorized
from penstock.cli.commands import Verb
from penstock.cli.options import DURATION, connected, namespace_option
from penstock.cli.output import printable
from penstock.cli.schema import LogMessage
from penstock.cli.target import Target
from penstock.cli.timeformat import parse_timestamp, time_formatter
from penstock.errors import InvalidInput, NotFound, PenstockError

Render = Callable[[LogMessage, bytes], str]


@click.command("logs", cls=Verb)
@click.argument("name")
@click.option("-t", "--tail/--no-tail", default=True, show_default=True, help="Go on as new lines are written.")
@click.option("--lines", type=int, default=-1, metavar="N", help="Only the last N lines; all that are kept otherwise.")
@click.option("--since", type=DURATION, metavar="DURATION", help="Only lines younger than this, such as 10m.")
@click.option("--since-time", metavar="TIME", help="Only lines after this time, such as 2026-01-31T12:00:00Z.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["plain", "keyvalue", "json"]),
    default="plain",
    show_default=True,
    help="Format.",
)
@click.option("-j", "--json", "as_json", is_flag=True, help="The same as --output json.")
@click.option("--name", "show_name", is_flag=True, help="Show the function's name in each line.")
@click.option("--instance", "show_instance", is_flag=True, help="Show the replica in each line.")
@click.option(
    "--time-format",
    default="RFC3339",
    show_default=True,
    metavar="FORMAT",
    help="A name, a Go layout, or strftime's %.",
)
@namespace_option
@connected(of_stack=True, timeout="0", timeout_help="Longest time to follow; 0 follows until Ctrl-C.")
def command(
    target: Target,
    name: str,
    tail: bool,
    lines: int,
    since: float | None,
    since_time: str | None,
    output: str,
    as_json: bool,
    show_name: bool,
    show_instance: bool,
    time_format: str,
) -> None:
    """Print the log lines of a function and follow them.

    \b
    Examples:
      penstock logs words
      penstock logs words --tail=false --lines 100 --instance
      penstock logs words --since 10m --output json | jq -r .text
    """
    segment(name)
    formatted = time_formatter(time_format)
    render = _render("json" if as_json else output, formatted, show_name, show_instance)
    params = {"name": name, "follow": "true" if tail else "false", "tail": str(lines)}
    begin = _begin(since, since_time)
    if begin is not None:
        params["since"] = begin.isoformat(timespec="seconds").replace("+00:00", "Z")
    talk(target, lambda gateway: _print(gateway, gateway.query(**params), render))


def _begin(since: float | None, since_time: str | None) -> datetime | None:
    if since is not None and since_time is not None:
        raise InvalidInput("--since and --since-time exclude each other")
    if since is not None:
        return datetime.now(UTC) - timedelta(seconds=since)
    if since_time is None:
        return None
    moment = parse_timestamp(since_time)
    if moment is None or moment.tzinfo is None:
        raise InvalidInput(f"--since-time {since_time!r} is not a time, write it like 2026-01-31T12:00:00Z")
    return moment


async def _print(gateway: Gateway, params: dict[str, str], render: Render) -> None:
    headers = {"Authorization": gateway.target.authorization} if gateway.target.authorization else {}
    async with gateway.ask("GET", "/system/logs", params=params, headers=headers) as response:
        if response.status == 401:
            raise unauthorized(gateway.target)
        if response.status == 404:
            raise NotFound(f"there is no function {params['name']!r}; `penstock list` shows those there are")
        if response.status != 200:
            raise refusal(Reply(response.status, response.reason or "", await response.read()))
        async for line in _split(response.content.iter_any()):
            try:
                message = msgspec.json.decode(line, type=LogMessage)
            except msgspec.MsgspecError as error:
                raise PenstockError(f"the gateway sent a log line that is not JSON ({error}): {line[:80]!r}") from error
            click.echo(render(message, line))


async def _split(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines without their ends, empty ones left out; a line may be of any length."""
    parts: list[bytes] = []
    async for piece in pieces:
        *ends, rest = piece.split(b"\n")
        for end in ends:
            line = b"".join([*parts, end]).strip()
            parts = []
            if line:
                yield line
        if rest:
            parts.append(rest)
    last = b"".join(parts).strip()
    if last:
        yield last


def _render(output: str, formatted: Callable[[str], str], show_name: bool, show_instance: bool) -> Render:
    def plain(message: LogMessage, line: bytes) -> str:
        name = f"{message.name} " if show_name else ""
        instance = f"({message.instance}) " if show_instance else ""
        return f"{formatted(message.timestamp)} {name}{instance}{_clean(message.text)}"

    def keyvalue(message: LogMessage, line: bytes) -> str:
        name = f'name="{message.name}" ' if show_name else ""
        instance = f'instance="{message.instance}" ' if show_instance else ""
        return f'timestamp="{formatted(message.timestamp)}" {name}{instance}text="{_clean(message.text)}" '

    def json(message: LogMessage, line: bytes) -> str:
        return line.decode(errors="replace")

    return {"plain": plain, "keyvalue": keyvalue, "json": json}[output]


def _clean(text: str) -> str:
    """Text without its line end, for the terminal; tabs stay."""
    return "\t".join(printable(part) for part in text.rstrip("\r\n").split("\t"))
