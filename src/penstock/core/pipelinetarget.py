"""What one stage of a pipeline is: a function, and the path and query that it is asked for.

The stages of a named pipeline are texts of their own, checked when the pipeline is deployed and read again by every worker.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from penstock.core.names import check_function_name, check_namespace, split_key
from penstock.errors import InvalidInput

MAX_STAGES = 50
"""Stages of one pipeline, those of the pipelines in it counted: each holds a connection while the request is under way."""

MAX_STAGE_TEXT = 2048
"""Bytes of one stage's text; it becomes part of a request line."""

_NAME_END = re.compile(r"[/?]")
_TARGET = re.compile(r"[!-~]*", re.ASCII)
"""Visible ASCII: what a request target may consist of without breaking the line that it is on."""


class StageTarget(NamedTuple):
    """One stage: whom to ask and for what."""

    name: bytes
    """The function, NAME or NAME.NAMESPACE."""
    target: bytes
    """Path and query that the function sees, at least `/`."""


def read_stage(text: str) -> StageTarget:
    """The stage that a text of the form `NAME[.NAMESPACE][/PATH][?QUERY]` means. Nothing is decoded. Raises InvalidInput."""
    name, target = split_stage(text)
    if len(text) > MAX_STAGE_TEXT:
        raise InvalidInput(
            f"pipeline: stage {text[:40]!r}… has {len(text)} characters, at most {MAX_STAGE_TEXT} are accepted"
        )
    _check_name(name, text)
    if not _TARGET.fullmatch(target):
        raise InvalidInput(
            f"pipeline: stage {text[:200]!r}: path and query may hold visible ASCII characters only; "
            "write others as %XX, a space as %20"
        )
    if "|" in target or "#" in target:
        raise InvalidInput(
            f"pipeline: stage {text[:200]!r}: write | and # as %7C and %23 in a path or query; each stage is an entry of its own"
        )
    return StageTarget(name.encode(), (target if target.startswith("/") else f"/{target}").encode())


def split_stage(text: str) -> tuple[str, str]:
    """The name with its namespace, if it has one, and all that follows it, unchecked."""
    end = _NAME_END.search(text)
    return (text[: end.start()], text[end.start() :]) if end else (text, "")


def _check_name(key: str, text: str) -> None:
    name, namespace = split_key(key, "x")
    try:
        check_function_name(name)
        check_namespace(namespace)
    except InvalidInput as error:
        raise InvalidInput(
            f"pipeline: stage {text[:200]!r} does not begin with the name of a function "
            f"(NAME[.NAMESPACE][/PATH][?QUERY]): {error}"
        ) from error
