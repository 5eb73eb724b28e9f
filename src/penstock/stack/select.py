"""Which functions and pipelines of a stack are meant: `--filter` and `--regex` (contract watchdog-cli §3.4).

Called by every verb that reads one.
"""

from __future__ import annotations

import re

import msgspec

from penstock.errors import InvalidInput, NotFound
from penstock.stack.model import Stack


def select(stack: Stack, filter: str = "", regex: str = "") -> Stack:
    """The stack with the functions and pipelines whose whole name fits `filter`, where `*` stands for anything, or in whose name
    `regex` is found. Raises InvalidInput for both at once and for a broken expression, NotFound when nothing is left."""
    if filter and regex:
        raise InvalidInput("--filter and --regex exclude each other")
    if filter:
        fits = re.compile(".*".join(re.escape(part) for part in re.split(r"\*+", filter))).fullmatch
    elif regex:
        try:
            fits = re.compile(regex).search
        except re.error as error:
            raise InvalidInput(f"--regex {regex!r} is not a regular expression: {error}") from error
    else:
        fits = re.compile("").match
    functions = tuple(function for function in stack.functions if fits(function.name))
    pipelines = tuple(pipeline for pipeline in stack.pipelines if fits(pipeline.name))
    if not functions and not pipelines:
        raise NotFound(_none_left(stack, filter or regex))
    return msgspec.structs.replace(stack, functions=functions, pipelines=pipelines)


def _none_left(stack: Stack, asked: str) -> str:
    names = [*(function.name for function in stack.functions), *(pipeline.name for pipeline in stack.pipelines)]
    if not names:
        return f"{stack.file} has no functions"
    return f"no function of {stack.file} fits {asked!r}; it has {', '.join(names)}"
