"""The functions of a namespace as lines: what `penstock list` does, by `quick` or by its verb.

Reads JSON by the standard library, which is there sooner than the one that the other verbs use.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, NoReturn

from penstock.cli.exchange import fetch, refusal
from penstock.cli.output import print_columns, print_json, printable
from penstock.cli.target import Target
from penstock.errors import PenstockError

TIMEOUT = 60.0
"""Seconds that the gateway has to answer where nobody says otherwise."""
_MIN_IMAGE_WIDTH = 40


class Row(NamedTuple):
    """What is shown of one function."""

    name: str
    image: str
    """`pipeline` for one of those."""
    invocations: float
    replicas: str
    """`-` for a pipeline, which has none of its own."""
    created_at: str
    raw: dict[str, Any]
    """All that the gateway says about it."""


def show_functions(
    target: Target, *, quiet: bool = False, verbose: bool = False, sort: str = "name", as_json: bool = False
) -> None:
    """Print them. Raises what `fetch` raises, and PenstockError for an answer that is no list of functions."""
    params = {"namespace": target.namespace} if target.namespace else {}
    reply = fetch(target, "/system/functions", params)
    if reply.status != 200:
        raise refusal(reply)
    rows = _sorted(read_functions(reply.body), sort)
    if as_json:
        print_json([row.raw for row in rows])
    elif quiet:
        for row in rows:
            print(printable(row.name))
    else:
        _print_table(rows, verbose)


def read_functions(body: bytes) -> list[Row]:
    """The functions of an answer; none where it says null. Raises PenstockError, with the beginning of what came."""
    try:
        found = json.loads(body.decode(), parse_constant=_no_number)
        if b"\\u" in body:  # half a pair of surrogates can be escaped, and nothing can be done with it
            json.dumps(found, ensure_ascii=False).encode()
        if found is not None and not isinstance(found, list):
            raise ValueError("it is no list")
        return [_row(item) for item in found or []]
    except (ValueError, RecursionError) as error:
        start = body[:80].decode(errors="replace")
        raise PenstockError(f"the gateway's answer is not what was expected ({error}): {start!r}") from error


def _row(item: object) -> Row:
    if not isinstance(item, dict) or "name" not in item:
        raise ValueError("a function is an object with a name")
    pipeline = bool(item.get("pipeline"))
    return Row(
        _text(item, "name"),
        "pipeline" if pipeline else _text(item, "image"),
        _number(item, "invocationCount"),
        "-" if pipeline else f"{_number(item, 'replicas'):.0f}",
        _text(item, "createdAt"),
        item,
    )


def _text(item: dict[str, Any], key: str) -> str:
    value = item.get(key, "")
    if not isinstance(value, str):
        raise ValueError(f"{key!r} of a function is no text")
    return value


def _number(item: dict[str, Any], key: str) -> float:
    value = item.get(key, 0)
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{key!r} of a function is no number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{key!r} of a function is too large") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _sorted(rows: list[Row], sort: str) -> list[Row]:
    rows = sorted(rows, key=lambda row: row.name)
    if sort == "invocations":
        rows.sort(key=lambda row: -row.invocations)
    if sort == "creation":
        rows.sort(key=lambda row: row.created_at)
    return rows


def _print_table(rows: list[Row], verbose: bool) -> None:
    if not verbose:
        short = [(row.name, f"{row.invocations:.0f}", row.replicas) for row in rows]
        print_columns(("Function", "Invocations", "Replicas"), short, (30, 15, 5))
        return
    width = max([_MIN_IMAGE_WIDTH, *(len(row.image) for row in rows)])
    details = [(row.name, row.image, f"{row.invocations:.0f}", row.replicas, row.created_at) for row in rows]
    print_columns(("Function", "Image", "Invocations", "Replicas", "CreatedAt"), details, (30, width, 15, 5, 5))
