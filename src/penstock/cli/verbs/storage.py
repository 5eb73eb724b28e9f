"""`penstock storage`: the objects of the store that functions take their input from, for people and scripts.

No gateway is asked but by the verbs about events, which are in `cli.storageevents`.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.cancelling import run_to_a_tidy_end
from penstock.cli.commands import AliasGroup
from penstock.cli.objectcopy import (
    LARGE,
    STREAM,
    Copied,
    Copier,
    Copy,
    Moved,
    Wish,
    several,
    single,
    some_at_a_time,
)
from penstock.cli.options import DURATION, note, output_option
from penstock.cli.output import print_json, printable
from penstock.cli.storageevents import events, events_token, redrive
from penstock.errors import InvalidInput, PenstockError, SettingsError
from penstock.settings import load_storage_settings
from penstock.storage.listing import ObjectInfo
from penstock.storage.objects import MAX_PRESIGNED, ObjectStore
from penstock.storage.reference import ObjectRef, check_key, parse_location, parse_reference
from penstock.storagesettings import StorageSettings

if TYPE_CHECKING:
    from penstock.storage.objects import Method

F = TypeVar("F", bound=Callable[..., Any])


def _store_options(function: F) -> F:
    """Where the store is; the verb receives its `settings`."""
    endpoint = click.option("--endpoint", metavar="URL", help="Address of the store; else $PENSTOCK_S3_ENDPOINT.")
    region = click.option("--region", metavar="NAME", help="Region; else $PENSTOCK_S3_REGION. [default: us-east-1]")
    file = click.option(
        "--credentials-file",
        metavar="PATH",
        help="File or directory with the keys; else $PENSTOCK_S3_CREDENTIALS_FILE, else the keys of the environment.",
    )
    style = click.option(
        "--path-style/--host-style", default=None, help="Bucket in the path, or in the host. [default: path]"
    )

    @functools.wraps(function)
    def command(
        *args: Any,
        endpoint: str | None,
        region: str | None,
        credentials_file: str | None,
        path_style: bool | None,
        **rest: Any,
    ) -> Any:
        given = {"endpoint": endpoint, "region": region, "credentials_file": credentials_file, "path_style": path_style}
        return function(*args, settings=_settings(given), **rest)

    return endpoint(region(file(style(command))))  # type: ignore[return-value]


def _settings(given: dict[str, Any]) -> StorageSettings:
    """Raises SettingsError naming every fault."""
    faults: list[str] = []
    settings = load_storage_settings(os.environ, faults)
    overrides = {name: value for name, value in given.items() if value is not None}
    if overrides and not faults:
        settings = dataclasses.replace(settings, **overrides)
        faults += settings.faults()
    if faults:
        raise SettingsError("the object store cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults))
    return settings


@click.group("storage", cls=AliasGroup, aliases={"list": "ls", "copy": "cp", "remove": "rm", "delete": "rm"})
def command() -> None:
    """List, copy and remove objects of an S3-compatible store; see what became of events.

    The verbs about events ask the gateway. All others speak to the store itself, that of the settings of `penstock serve`:
    PENSTOCK_S3_ENDPOINT, PENSTOCK_S3_ACCESS_KEY and so on, and need the extra: pip install 'penstock[s3]'. In a key of
    s3://BUCKET/KEY a space may be written %20, and a percent sign must be written %25.

    \b
    Examples:
      penstock storage cp photo.jpg s3://inbox/photo.jpg
      penstock storage ls s3://inbox
      penstock storage cp s3://outbox/photo.png - | file -
      penstock storage events
    """


for _verb in (events, redrive, events_token):
    command.add_command(_verb)


@command.command("ls")
@click.argument("location", metavar="[s3://BUCKET[/PREFIX]]", default="")
@output_option
@_store_options
def list_(settings: StorageSettings, location: str, output: str) -> None:
    """List the objects whose keys begin with a prefix; without an argument, the buckets that functions may use.

    \b
    Examples:
      penstock storage ls
      penstock storage ls s3://inbox/2026/
      penstock storage ls s3://inbox --output json
    """
    if not location:
        _list_buckets(settings, output)
        return
    bucket, prefix = parse_location(location)
    asyncio.run(_list(_store(settings), bucket, prefix, output))


@command.command("cp")
@click.argument("source")
@click.argument("target")
@click.option("-r", "--recursive", is_flag=True, help="Copy all that is below a folder or a prefix.")
@click.option("--content-type", default="", metavar="TYPE", help="Of new objects. [default: by the file's name]")
@click.option("--replace/--no-replace", default=True, show_default=True, help="Replace what has the name already.")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True, help="Copies at once, with -r.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing of copies that succeed.")
@output_option
@_store_options
def copy(
    settings: StorageSettings,
    source: str,
    target: str,
    recursive: bool,
    content_type: str,
    replace: bool,
    parallel: int,
    quiet: bool,
    output: str,
) -> None:
    """Copy a file to an object, an object to a file, or an object to another.

    `-` is stdin or stdout. A target that ends in / or is a folder takes the source's name. Neither a file nor an object is seen
    before it is complete; a copy that is ended, by Ctrl-C or SIGTERM, leaves nothing behind. With -r all are tried, whatever
    becomes of some; the last line says how many have failed.

    \b
    Examples:
      penstock storage cp photo.jpg s3://inbox/
      pg_dump | penstock storage cp - s3://backups/today.sql
      penstock storage cp -r s3://outbox/2026/ ./results
    """
    if output == "json" and target == STREAM:
        raise InvalidInput("--output json and the object itself cannot both be on stdout")
    store, teller = _store(settings), _Teller(output, quiet or target == STREAM)
    copier = Copier(store, Wish(content_type, replace))
    # On the way to stdout there is nothing to tidy up, and whoever reads it may keep us waiting for ever.
    run = asyncio.run if target == STREAM else run_to_a_tidy_end
    if recursive:
        run(_copy_all(copier, several(store, source, target), parallel, teller))
    else:
        run(_copy_one(copier, single(source, target), teller))


@command.command("rm")
@click.argument("locations", metavar="s3://BUCKET/KEY...", nargs=-1, required=True)
@click.option("-r", "--recursive", is_flag=True, help="Remove all objects whose keys begin with KEY.")
@_store_options
def remove(settings: StorageSettings, locations: tuple[str, ...], recursive: bool) -> None:
    """Remove objects. That there is no such object is no error, as in S3.

    \b
    Examples:
      penstock storage rm s3://inbox/photo.jpg
      penstock storage rm -r s3://outbox/2025/
    """
    given = [parse_location(text) if recursive else parse_reference(text) for text in locations]
    asyncio.run(_remove(_store(settings), given, recursive))


@command.command("clean")
@click.argument("location", metavar="s3://BUCKET[/PREFIX]")
@click.option("--older", type=DURATION, default="24h", show_default=True, help="Leave alone what has begun since then.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@_store_options
def clean(settings: StorageSettings, location: str, older: float, dry_run: bool) -> None:
    """Remove the parts of uploads that were never finished.

    They are what is left of an upload whose program was killed: stores keep them, and charge for them, until somebody gives the
    upload up. One that is still under way is given up too where it has begun long enough ago.

    \b
    Examples:
      penstock storage clean s3://outbox --dry-run
      penstock storage clean s3://outbox/2026/ --older 2h
    """
    bucket, prefix = parse_location(location)
    asyncio.run(_clean(_store(settings), bucket, prefix, time.time() - older, dry_run))


@command.command("presign")
@click.argument("reference", metavar="s3://BUCKET/KEY")
@click.option("--method", type=click.Choice(["GET", "PUT", "HEAD", "DELETE"]), default="GET", show_default=True)
@click.option("--expires", type=DURATION, default="1h", show_default=True, help="How long it holds, a week at most.")
@_store_options
def presign(settings: StorageSettings, reference: str, method: Method, expires: float) -> None:
    """Print an address with which anyone may do this to the object for a time, without keys.

    \b
    Examples:
      penstock storage presign s3://outbox/photo.png
      curl -T photo.jpg "$(penstock storage presign s3://inbox/photo.jpg --method PUT --expires 10m)"
    """
    if expires > MAX_PRESIGNED:
        raise InvalidInput("--expires: a signed address holds a week (168h) at most")
    ref = parse_reference(reference)
    click.echo(asyncio.run(_store(settings).presign(ref, method, int(expires))))


def _store(settings: StorageSettings) -> ObjectStore:
    return ObjectStore(settings, os.environ)


def _list_buckets(settings: StorageSettings, output: str) -> None:
    if output == "json":
        print_json(sorted(settings.allowed))
        return
    if not settings.allowed:
        note("PENSTOCK_S3_BUCKETS names no buckets; name one: penstock storage ls s3://BUCKET")
    for name in sorted(settings.allowed):
        click.echo(f"s3://{name}")


async def _list(store: ObjectStore, bucket: str, prefix: str, output: str) -> None:
    found: list[dict[str, Any]] = []
    async for item in store.list(bucket, prefix):
        if output == "json":
            found.append(_described(item))
        else:
            click.echo(f"{_time(item.modified)}  {item.size:>14}  {printable(item.key)}")
    if output == "json":
        print_json(found)


def _described(item: ObjectInfo) -> dict[str, Any]:
    return {"key": item.key, "size": item.size, "etag": item.etag, "modified": _time(item.modified)}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Teller:
    """Tells of copies on stderr as they end, or of all in the end as JSON."""

    def __init__(self, output: str, quiet: bool) -> None:
        self._json, self._quiet = output == "json", quiet
        self._copied: list[Copied] = []
        self._failed = 0

    def ended(self, copied: Copied) -> None:
        if self._json:
            self._copied.append(copied)
        elif not self._quiet:
            note(f"Copied: {copied.copy} ({copied.size} bytes)")

    def failed(self, what: str, error: Exception) -> None:
        self._failed += 1
        words = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        note(f"Error: {what}{words}")

    def close(self) -> None:
        """Raises PenstockError when some have failed."""
        if self._json:
            print_json(
                [
                    {"source": str(one.copy.source), "target": str(one.copy.target), "size": one.size, "etag": one.etag}
                    for one in self._copied
                ]
            )
        if self._failed:
            raise PenstockError(f"{self._failed} of the copies failed")


async def _copy_one(copier: Copier, copy: Copy, teller: _Teller) -> None:
    with _bars() as begin:
        teller.ended(await copier.copy(copy, functools.partial(begin, str(copy))))
    teller.close()


async def _copy_all(copier: Copier, work: AsyncIterator[Copy | PenstockError], parallel: int, teller: _Teller) -> None:
    async def attempt(item: Copy | PenstockError) -> None:
        if isinstance(item, PenstockError):
            teller.failed("", item)
            return
        try:
            teller.ended(await copier.copy(item, functools.partial(begin, str(item))))
        except (PenstockError, OSError) as error:
            teller.failed(f"{item}: ", error)

    with _bars() as begin:
        await some_at_a_time(work, parallel, lambda item: asyncio.ensure_future(attempt(item)))
    teller.close()


@contextmanager
def _bars() -> Iterator[Callable[[str, int | None], Moved]]:
    """How far large copies are, one below the other, on stderr when that is a terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda text, size: lambda moved: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:

        def begin(text: str, size: int | None) -> Moved:
            if size is not None and size < LARGE:
                return lambda moved: None
            task = progress.add_task(text, total=size)

            return lambda moved: progress.update(task, advance=moved)

        yield begin


async def _remove(store: ObjectStore, given: list[Any], recursive: bool) -> None:
    failed = 0
    for place in given:
        async for ref in _objects(store, place) if recursive else _itself(place):
            try:
                check_key(ref.key)
                await store.remove(ref)
                click.echo(f"Removed: {ref}")
            except InvalidInput as error:
                failed += 1
                note(f"Error: {error}")
    if failed:
        raise PenstockError(f"{failed} objects could not be removed")


async def _clean(store: ObjectStore, bucket: str, prefix: str, before: float, dry_run: bool) -> None:
    async for one in store.unfinished(bucket, prefix):
        if one.begun > before:
            continue
        if not dry_run:
            await store.remove_parts(one)
        click.echo(f"{'Would remove' if dry_run else 'Removed'}: parts of {one.ref}, begun {_time(one.begun)}")


async def _objects(store: ObjectStore, place: tuple[str, str]) -> AsyncIterator[ObjectRef]:
    async for item in store.list(*place):
        yield ObjectRef(place[0], item.key)


async def _itself(ref: ObjectRef) -> AsyncIterator[ObjectRef]:
    yield ref
