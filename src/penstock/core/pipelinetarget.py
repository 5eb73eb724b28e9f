"""What the stages of a pipeline are: each a function, and the path and query that it is asked for.

The stages of a named pipeline are texts of their own, checked when the pipeline is deployed and read again by every worker. A
request target names stages as a shell does: `/function/sort|uniq|wc`, where pipes count in the name's segment only.
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

_REQUEST = re.compile(rb"/function/([^/?]*)(/[^?]*)?(\?.*)?", re.DOTALL)
_PIPE = re.compile(rb"\||%7[cC]")
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9a-fA-F]{2})")
_ESCAPE = re.compile(rb"%([0-9a-fA-F]{2})")

_NAME_END = re.compile(r"[/?]")
_TARGET = re.compile(r"[!-~]*", re.ASCII)
"""Visible ASCII: what a request target may consist of without breaking the line that it is on."""


class StageTarget(NamedTuple):
    """One stage: whom to ask and for what."""

    name: bytes
    """The function, NAME or NAME.NAMESPACE."""
    target: bytes
    """Path and query that the function sees, at least `/`."""


def pipeline_target(target: bytes) -> tuple[StageTarget, ...] | None:
    """The stages, two or more, that an origin-form request target names; None where it names no pipeline.

    Path and query after the last name are the last stage's. A stage that wants its own has them percent-encoded, once, in its
    name: `resize%2Fsmall%3Fw=100|ocr`. Raises InvalidInput for an empty stage, too many, or one that cannot be read.
    """
    match = _REQUEST.fullmatch(target)
    if match is None or not _PIPE.search(match[1]):
        return None
    texts = _PIPE.split(match[1])
    if len(texts) > MAX_STAGES:
        raise InvalidInput(f"pipeline: at most {MAX_STAGES} stages are accepted, not {len(texts)}")
    stages = [_encoded_stage(text, number) for number, text in enumerate(texts, 1)]
    path, query = match[2] or b"", match[3] or b""
    if path or query:
        stages[-1] = directed(stages[-1], (path or b"/") + query)
    return tuple(stages)


def directed(stage: StageTarget, target: bytes) -> StageTarget:
    """The stage with the path and query that the caller asks it for. Raises InvalidInput when it has its own."""
    if stage.target != b"/":
        own = stage.target.decode()[:200]
        raise InvalidInput(f"pipeline: the last stage is asked for {own} already, so that no path or query can follow")
    return StageTarget(stage.name, target)


def _encoded_stage(text: bytes, number: int) -> StageTarget:
    if not text:
        raise InvalidInput(f"pipeline: stage {number} is empty; it is NAME|NAME with a function on each side of a pipe")
    if _BROKEN_ESCAPE.search(text):
        raise InvalidInput(f"pipeline: stage {number} has a % without two hexadecimal digits after it")
    return read_stage(_ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), text).decode("latin-1"))


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
