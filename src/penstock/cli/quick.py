"""`version` and `list` as they are mostly typed, answered before click is imported, which takes longer than all that they do.

`main` asks here first. What is understood are the switches of the table below and which gateway is meant; anything else, such as
`--help`, a mistake or a stack file, is left to the verbs of the same names, which do their work by the same functions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from penstock.cli.target import Target, authorization_for, gateway_url
from penstock.core.names import check_namespace
from penstock.stack.defaults import default_file


class Plain(NamedTuple):
    """One verb: what it may be asked in plain words."""

    run: Callable[[Mapping[str, str]], None]
    """Called with what was given: the values of `takes`, and each switch with an empty one."""
    switches: Mapping[str, str]
    takes: Mapping[str, str]


def answer(arguments: Sequence[str]) -> bool:
    """Do what the command line asks for, when it is one of the plain ones; else do nothing and return False.

    Raises what the verb raises.
    """
    verb = VERBS.get(arguments[0]) if arguments else None
    given = _given(verb, arguments[1:]) if verb else None
    if verb is None or given is None:
        return False
    if "gateway" not in given and default_file(".") is not None:  # it may name one
        return False
    verb.run(given)
    return True


def _given(verb: Plain, arguments: Sequence[str]) -> dict[str, str] | None:
    """What the arguments say; None where one of them is not plain."""
    found: dict[str, str] = {}
    rest = iter(arguments)
    for argument in rest:
        if argument in verb.switches:
            found[verb.switches[argument]] = ""
            continue
        value = next(rest, "")
        if argument not in verb.takes or not value or value.startswith("-"):
            return None
        found[verb.takes[argument]] = value
    return found


def _target(given: Mapping[str, str], timeout: float) -> Target:
    url = gateway_url(given.get("gateway"), os.environ)
    namespace = check_namespace(given["namespace"]) if "namespace" in given else ""
    return Target(url, namespace, authorization_for(url, None, os.environ), timeout=timeout)


def _version(given: Mapping[str, str]) -> None:
    from penstock.cli.versions import TIMEOUT, show_versions

    show_versions(_target(given, TIMEOUT), short="short" in given)


def _list(given: Mapping[str, str]) -> None:
    from penstock.cli.listing import TIMEOUT, show_functions

    show_functions(_target(given, TIMEOUT), quiet="quiet" in given, verbose="verbose" in given)


_GATEWAY = {"-g": "gateway", "--gateway": "gateway"}
_PLAIN_LIST = Plain(
    _list,
    {"-q": "quiet", "--quiet": "quiet", "-v": "verbose", "--verbose": "verbose"},
    {**_GATEWAY, "-n": "namespace", "--namespace": "namespace"},
)
VERBS: Mapping[str, Plain] = {
    "version": Plain(_version, {"--short-version": "short"}, _GATEWAY),
    "list": _PLAIN_LIST,
    "ls": _PLAIN_LIST,
}
