"""What a request by reference asks for, and what the function sees of it. Pure; `byreference` acts on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from penstock.core.headers import forward_fields
from penstock.core.names import split_key
from penstock.core.pipelinetarget import StageTarget, pipeline_target
from penstock.core.policy import BUCKETS_LABEL
from penstock.core.routing import function_target
from penstock.errors import InvalidInput
from penstock.gateway.byteranges import ByteRange, parse_range
from penstock.gateway.invocation import shorter
from penstock.gateway.objectsink import Limits
from penstock.gateway.objectsource import Stream, length_of
from penstock.gateway.pipelineplan import Cast, patience
from penstock.model import DEFAULT_NAMESPACE
from penstock.storage.access import check_bucket
from penstock.storage.attributes import Attributes, hops, kept
from penstock.storage.errors import TooManyHops
from penstock.storage.reference import ObjectRef, parse_reference
from penstock.wire.message import RequestHead, origin_form
from penstock.wire.timeouts import NEVER

INPUT, OUTPUT = "X-Input-Object", "X-Output-Object"

EVENT = "X-Event-Name"
"""Names the event in a call that was made for one (`storage.delivery`)."""
MOST_HOPS = 16
"""Functions that events may lead an object through, each storing what calls the next: far beyond any work that is thought out, and few
enough that two functions which feed each other stop within seconds."""

_OURS = frozenset({INPUT.lower().encode(), OUTPUT.lower().encode(), b"authorization"})
"""Fields that no function sees: in such a request the caller speaks to the gateway by them."""
_DESCRIBING = ("Content-Type", "Content-Encoding", "Content-Language", "Content-Disposition")
"""Attributes of an object that the function gets with its bytes; `Cache-Control` would be an order to caches in a request."""
_OF_THE_BODY = frozenset({b"content-length", b"range", b"if-range"})
"""What the client says of a body that comes from elsewhere."""
_OF_THE_ANSWER = frozenset({b"if-none-match"})
"""What it says of the object that its answer becomes."""
_NOTHING: frozenset[bytes] = frozenset()
_ONCE = ("authorization", "if-none-match", "range", INPUT.lower(), OUTPUT.lower())
"""Fields of which a second one could be taken for the first."""


class Wanted(NamedTuple):
    """The objects that a request names."""

    source: ObjectRef | None
    part: ByteRange
    """Of the source."""
    sink: ObjectRef | None
    new: bool
    """Whether there must be no such object yet (`If-None-Match: *`, RFC 9110 §13.1.2)."""


def named_fields(head: RequestHead) -> dict[str, str]:
    """The request's fields by name in lower case, without those that `Connection` names away. Raises InvalidInput for two of
    a kind where one counts."""
    fields: dict[str, str] = {}
    for line in forward_fields(head).decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        name = name.lower()
        if name in fields and name in _ONCE:
            raise InvalidInput(f"{name}: is there twice")
        fields.setdefault(name, value.strip(" \t"))
    return fields


def asked_stages(head: RequestHead) -> tuple[StageTarget, ...]:
    """What the request's target names: one function or named pipeline, or the stages of a pipeline. Raises InvalidInput."""
    target = origin_form(head.target)
    named = function_target(target)
    return (StageTarget(*named),) if named is not None else pipeline_target(target) or ()


def key_of(asked: tuple[StageTarget, ...]) -> str:
    """`NAME.NAMESPACE` of the one function or pipeline that is asked; empty where there are several."""
    if len(asked) != 1:
        return ""
    return ".".join(split_key(asked[0].name.decode(), DEFAULT_NAMESPACE))


def read_wanted(head: RequestHead, fields: Mapping[str, str]) -> Wanted:
    """The objects that the request names, and whether they fit what else it says. Raises InvalidInput."""
    source, sink = _reference(fields, INPUT), _reference(fields, OUTPUT)
    if source is not None and head.has_body:
        raise InvalidInput(f"{INPUT}: the request has a body as well; send none, the function gets the object")
    if sink is not None and head.method == b"HEAD":
        raise InvalidInput(f"{OUTPUT}: an answer to HEAD has no body that could be stored; use GET or POST")
    part = parse_range(fields.get("range", "")) if source is not None else ByteRange()
    new = sink is not None and "if-none-match" in fields
    if new and fields["if-none-match"] != "*":
        raise InvalidInput(f"If-None-Match: beside {OUTPUT} it can only be *, for an object that is not there yet")
    return Wanted(source, part, sink, new)


def check_own_lists(wanted: Wanted, cast: Cast, asked: tuple[StageTarget, ...]) -> None:
    """Hold the objects against the functions' own lists of buckets. Raises BucketNotAllowed.

    The first function reads and the last one writes; a named pipeline's list is for both.
    """
    named = cast.pipelines[:1] if len(asked) == 1 else []
    for ref, function in ((wanted.source, cast.functions[0]), (wanted.sink, cast.functions[-1])):
        if ref is not None:
            for route in (*named, function):
                if route.policy.buckets is not None:
                    check_bucket(ref, route.policy.buckets, f"{BUCKETS_LABEL} of {route.key}")


def hops_after(fields: Mapping[str, str], stream: Stream | None) -> int:
    """How many calls about events, one after the other, the object that the answer becomes will have come from; 0 for a call that
    no event has caused, with which counting begins anew. Raises TooManyHops."""
    if EVENT.lower() not in fields or stream is None:
        return 0
    before = hops(stream.attributes)
    if before >= MOST_HOPS:
        raise TooManyHops(
            f"the object has come through {before} functions, each called for what the one before had stored: they seem to feed"
            " each other"
        )
    return before + 1


def limits_of(cast: Cast, asked: tuple[StageTarget, ...], fields: Mapping[str, str]) -> Limits:
    """How long it may take: as long as the same request without objects."""
    run = patience(cast, asked) or NEVER
    if "x-timeout" in fields:
        run = shorter(run, fields["x-timeout"].encode("latin-1"))
    return Limits(run, run + _longest([route.policy.queue_timeout for route in cast.functions]))


def seen_request(head: RequestHead, stream: Stream | None, stored: bool) -> RequestHead:
    """The head that functions see: with the object's length and type where its body is one, and as of an old client where its
    answer will be one, which keeps chunks away from there."""
    drop = _OURS | (_OF_THE_BODY if stream is not None else _NOTHING) | (_OF_THE_ANSWER if stored else _NOTHING)
    lines = forward_fields(head, drop)
    if stream is not None:
        lines += b"Content-Length: %d\r\n" % length_of(stream)
        lines += _describing(stream.attributes, lines)
    seen = head.rewritten(head.target, lines)
    seen.named_by_connection = frozenset()
    seen.hop_by_hop = seen.chunked
    seen.upgrade = b""
    seen.http10 = head.http10 or stored
    if stream is not None:
        seen.content_length = length_of(stream)
        seen.expect_continue = False
    return seen


def _reference(fields: Mapping[str, str], name: str) -> ObjectRef | None:
    text = fields.get(name.lower())
    if text is None:
        return None
    try:
        return parse_reference(text.encode("latin-1").decode())
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name}: is not UTF-8; write %XX for bytes beyond ASCII") from error
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error}") from error


def _describing(attributes: Attributes, lines: bytes) -> bytes:
    """Field lines that tell the function what the object's bytes are, but for what the client tells itself."""
    told = b"\n" + lines.lower()
    described = kept(attributes.items())
    return b"".join(
        f"{name}: {described[name]}\r\n".encode()
        for name in _DESCRIBING
        if name in described and b"\n%b:" % name.lower().encode() not in told
    )


def _longest(limits: list[float]) -> float:
    return NEVER if 0 in limits else max(limits)
