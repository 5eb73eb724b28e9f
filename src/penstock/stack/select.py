"""Which functions of a stack are meant: `--filter` and `--regex` (contract watchdog-cli §3.4). Called by every verb that reads one."""

from __future__ import annotations

import re

import msgspec

from penstock.errors import InvalidInput, NotFound
from penstock.stack.model import Stack


def select(stack: Stack, filter: str = "", regex: str = "") -> Stack:
    """The stack with the functions whose whole name fits `filter`, where `*` stands for anything, or in whose name `regex` is
    found. Raises InvalidInput for both at once and for a broken expression, NotFound when no function is left."""
    if filter and regex:
        raise InvalidInput("--filter and --regex exclude each other")
    if filter:
        pattern = re.compile(".*".join(re.escape(part) for part in re.split(r"\*+", filter)))
        chosen = tuple(function for function in stack.functions if pattern.fullmatch(function.name))
    elif regex:
        try:
            pattern = re.compile(regex)
        except re.error as error:
            raise InvalidInput(f"--regex {regex!r} is not a regular expression: {error}") from error
        chosen = tuple(function for function in stack.functions if pattern.search(function.name))
    else:
        chosen = stack.functions
    if not chosen:
        raise NotFound(_none_left(stack, filter or regex))
    return msgspec.structs.replace(stack, functions=chosen)


def _none_left(stack: Stack, asked: str) -> str:
    if not stack.functions:
        return f"{stack.file} has no functions"
    return (
        f"no function of {stack.file} fits {asked!r}; it has {', '.join(function.name for function in stack.functions)}"
    )
