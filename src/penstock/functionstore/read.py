"""Reads a function store: the one shipped with the package, a file, or a URL. Called by the verbs of `penstock store`."""

from __future__ import annotations

import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any

import msgspec

import penstock
from penstock.core.shown import shown
from penstock.errors import InvalidInput, NotFound, PenstockError
from penstock.functionstore.model import FunctionStore, StoreFunction

OWN = Path(__file__).parent / "functions.json"
SOURCES = Path(__file__).parent / "source"
TIMEOUT = 30.0
"""Seconds without a byte of a store's answer."""
MAX_BYTES = 16 << 20

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+", re.ASCII)
"""Debian policy §5.6.7."""


def read_store(place: str, environ: Mapping[str, str]) -> FunctionStore:
    """The store at a URL or in a file; with an empty `place` that of $OPENFAAS_STORE, else our own.

    Raises NotFound for a file that is not there, PenstockError for a URL that cannot be had, InvalidInput for what is no store.
    """
    place = place or environ.get("OPENFAAS_STORE", "") or str(OWN)
    if re.match(r"https?://", place, re.IGNORECASE):
        return parse_store(_fetch(place), place)
    try:
        with Path(place).open("rb") as file:
            return parse_store(_bounded(file.read(MAX_BYTES + 1), place), place)
    except FileNotFoundError as error:
        raise NotFound(f"{place}: there is no such store; name a file, or a URL with http:// or https://") from error
    except OSError as error:
        raise PenstockError(f"{place}: the store cannot be read: {error.strerror or error}") from error


def parse_store(data: bytes, place: str) -> FunctionStore:
    """A store from its JSON, of version 2 or the bare list of version 1. `place` is for messages. Raises InvalidInput."""
    try:
        document = msgspec.json.decode(data)
        if isinstance(document, list):
            document = {"functions": [_of_version_1(item) for item in document]}
        store = msgspec.convert(_without_null(document), FunctionStore)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{place}: is not a function store: {error}") from error
    for function in store.functions:
        _check(function, place)
    return msgspec.structs.replace(store, functions=tuple(_as_shown(function) for function in store.functions))


def _as_shown(function: StoreFunction) -> StoreFunction:
    """The same without what would steer a terminal, in all that is only there to be read."""
    return msgspec.structs.replace(
        function,
        title=shown(function.title),
        description=shown(function.description),
        author=shown(function.author),
        icon=shown(function.icon),
        repo_url=shown(function.repo_url),
        images={shown(platform): image for platform, image in function.images.items()},
    )


def _check(function: StoreFunction, place: str) -> None:
    if not _NAME.fullmatch(function.name):
        raise InvalidInput(f"{place}: {function.name!r} cannot be a function's name")
    for package in function.packages:
        if not _PACKAGE.fullmatch(package):
            raise InvalidInput(f"{place}: {function.name}: {package!r} cannot be a Debian package")
    if function.source is not None and place != str(OWN):
        raise InvalidInput(f"{place}: {function.name}: only the store of this installation has functions that are code")


def _of_version_1(item: Any) -> Any:
    """An entry of the bare list, whose image was for x86_64."""
    if isinstance(item, dict) and "image" in item:
        return {**item, "images": {"x86_64": item["image"]}}
    return item


def _without_null(value: Any) -> Any:
    """The same without members that are null: they mean "not given"."""
    if isinstance(value, dict):
        return {key: _without_null(member) for key, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    return value


def _fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": f"penstock/{penstock.__version__}"})  # noqa: S310 - http only
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=ssl.create_default_context()) as answer:  # noqa: S310
            return _bounded(answer.read(MAX_BYTES + 1), url)
    except urllib.error.HTTPError as error:
        raise PenstockError(f"{url}: the store answered {error.code} {shown(str(error.reason))}") from error
    except (OSError, HTTPException, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise PenstockError(
            f"{url}: the store cannot be had: {shown(str(reason))}; without --url the built-in one is used"
        ) from error


def _bounded(data: bytes, place: str) -> bytes:
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"{place}: is larger than {MAX_BYTES >> 20} MiB, which no function store is")
    return data
