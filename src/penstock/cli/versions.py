"""Which versions are at work here and at the gateway: what `penstock version` does, by `quick` or by its verb."""

from __future__ import annotations

import sys
from typing import Any

import penstock
from penstock.cli.exchange import headers_of, waiting_said
from penstock.cli.output import printable
from penstock.cli.target import Target

TIMEOUT = 5.0
"""Seconds that the gateway has to answer where nobody says otherwise."""


def show_versions(target: Target, *, short: bool = False, as_json: bool = False) -> None:
    """Print them; a gateway that does not answer is mentioned on stderr. With `short` it is not asked."""
    if short:
        print(penstock.__version__)
        return
    info = _ask(target)
    if as_json:
        import json

        print(json.dumps({"client": {"version": penstock.__version__}, "gateway": info or None}, indent=2))
        return
    print(f"CLI\n version: {penstock.__version__}")
    if info:
        _print_gateway(target, info)


def _print_gateway(target: Target, info: dict[str, Any]) -> None:
    version = _mapping(info.get("version"))
    provider = _mapping(info.get("provider"))
    release, sha = _word(version, "release"), _word(version, "sha")
    print(f"\nGateway\n uri:     {target.url}\n version: {release}\n sha:     {sha}")
    print(f"\nProvider\n name:          {_word(provider, 'provider')}")
    print(f" orchestration: {_word(provider, 'orchestration')}")
    print(f" version:       {_word(_mapping(provider.get('version')), 'release')}")


def _ask(target: Target) -> dict[str, Any]:
    """The gateway's `/system/info`, or {} with a note when it does not give one."""
    from penstock.cli.plainhttp import get  # late: who wants the short version asks nobody

    try:
        with waiting_said(target):
            status, _, body = get(
                f"{target.url}/system/info", headers_of(target), target.timeout or None, verify_tls=target.verify_tls
            )
        if status == 401:
            _note(f"The gateway at {target.url} asks for a login: run `penstock login --gateway {target.url}`.")
            return {}
        if status != 200:
            _note(f"The gateway at {target.url} answered {status} to /system/info.")
            return {}
        import json

        return _mapping(json.loads(body))
    except (OSError, ValueError, RecursionError) as error:
        _note(f"No gateway answers at {target.url} ({error}).")
        return {}


def _note(message: str) -> None:
    if sys.stderr is not None:
        print(message, file=sys.stderr)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: dict[str, Any], key: str) -> str:
    return printable(str(value.get(key, "")))
