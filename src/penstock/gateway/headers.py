"""What the gateway adds to requests and answers (contract gateway §3.1 and §3.2).

A client on a kept connection often repeats its head; what was worked out for it is kept with the parsed head, so that only
the call id and the start time are new.
"""

from __future__ import annotations

from penstock import __version__
from penstock.core.headers import forward_fields
from penstock.wire.message import RequestHead, ResponseHead

SERVED_BY = f"penstock/{__version__}".encode()
USER_AGENT = f"penstock-gateway/{__version__}".encode()

_TIMING = frozenset({b"x-server-timing"})
"""Asks us where the time went; it is not passed on, or a gateway behind this one would answer it too."""

_OBJECT_FIELDS = (b"\nx-input-object:", b"\nx-output-object:")
"""Name objects of a store in place of the request's body and of the answer (`gateway.byreference`)."""
_OBJECT_ENDING = b"put-object:"
"""How both of them end: one look tells that a request has neither."""

_STREAMS = (b"text/event-stream", b"application/x-ndjson")


class RequestPlan:
    """How one request head goes upstream, less its call id and start time."""

    __slots__ = ("by_reference", "call_id", "name", "ordinary", "prefix", "timed", "timeout")

    def __init__(
        self, name: bytes, prefix: bytes, call_id: bytes, timeout: bytes, timed: bool, by_reference: bool = False
    ) -> None:
        self.name = name
        """Function as the request names it."""
        self.prefix = prefix
        """Request line and fields."""
        self.call_id = call_id
        """The caller's own call id; empty where it gave none."""
        self.timeout = timeout
        """The caller's `X-Timeout`; empty where it gave none."""
        self.timed = timed
        """Whether the caller wants to know where the time went (`X-Server-Timing`)."""
        self.by_reference = by_reference
        """Whether body or answer are objects of a store. Nothing else was worked out then."""
        self.ordinary = not (timed or by_reference)


def plan_request(head: RequestHead, name: bytes, target: bytes, peer: str) -> RequestPlan:
    """Work out what goes upstream for `head`, to a function that sees `target`. `peer` is the client's `ip:port`."""
    fields = forward_fields(head)  # what `Connection` names away counts as absent
    lower = b"\n" + fields.lower()
    if _OBJECT_ENDING in lower and any(field in lower for field in _OBJECT_FIELDS):
        return RequestPlan(name, b"", b"", b"", False, by_reference=True)
    timed = False
    if b"\nx-server-timing:" in lower:
        timed = _value(fields, lower, b"\nx-server-timing:").lower() in (b"1", b"true")
        fields = forward_fields(head, _TIMING)
        lower = b"\n" + fields.lower()
    lines = [b"%b %b HTTP/1.1\r\n" % (head.method, target), fields]
    if b"\nhost:" not in lower:
        lines.append(b"Host: %b\r\n" % name)
    if b"\nx-forwarded-host:" not in lower:
        lines.append(b"X-Forwarded-Host: %b\r\n" % (_value(fields, lower, b"\nhost:") or name))
    if b"\nuser-agent:" not in lower:
        lines.append(b"User-Agent: %b\r\n" % USER_AGENT)
    if head.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % head.upgrade)
    if b"\nx-forwarded-for:" not in lower and peer:
        # Last, as what differs from one client to the next: a watchdog knows the rest again (`wire.memory`).
        lines.append(b"X-Forwarded-For: %b\r\n" % peer.encode())
    call_id, timeout = _value(fields, lower, b"\nx-call-id:"), _value(fields, lower, b"\nx-timeout:")
    return RequestPlan(name, b"".join(lines), call_id, timeout, timed)


def names_objects(head: RequestHead) -> bool:
    """Whether body or answer of this request are objects of a store."""
    lower = b"\n" + forward_fields(head).lower()
    return any(field in lower for field in _OBJECT_FIELDS)


def _value(fields: bytes, lower: bytes, name: bytes) -> bytes:
    """Value of the first field `name` (given as `\\nname:`), empty where there is none. `lower` is a line feed and `fields` in
    lower case: to look for a few names in it is far cheaper than to take all fields apart."""
    start = lower.find(name)
    if start < 0:
        return b""
    start += len(name) - 1
    return fields[start : fields.index(b"\r", start)].strip(b" \t")


class AnswerPlan:
    """What an answer's head already has, and so need not be added."""

    __slots__ = ("lower", "stream", "travelling", "wants_content_type", "wants_own")

    def __init__(self, head: ResponseHead) -> None:
        self.lower = lower = b"\n" + head.raw_fields.lower()
        own = b"\nx-call-id:" in lower or b"\nx-start-time:" in lower or b"\nx-served-by:" in lower
        self.wants_own = not own
        """Whether all of the gateway's fields are to be added."""
        bodyless = head.status < 200 or head.status in (204, 304)
        self.wants_content_type = b"\ncontent-type:" not in lower and not bodyless
        self.travelling: bytes | None = None
        """Field lines that describe its bytes, for whoever gets them next; None until somebody asked (`gateway.stage`)."""
        self.stream = False
        """Whether the answer goes on for as long as its function likes, so that a deadline for its end makes no sense."""
        if b"event-stream" in lower or b"ndjson" in lower:
            self.stream = is_stream(_value(head.raw_fields, lower, b"\ncontent-type:"))


def is_stream(content_type: bytes) -> bool:
    """Whether an answer of that type goes on for as long as its function likes."""
    return content_type.lower().startswith(_STREAMS)


def plan_answer(head: ResponseHead) -> AnswerPlan:
    """The plan of an answer, kept with its head."""
    if head.lasting is None:
        head.lasting = AnswerPlan(head)
    return head.lasting  # type: ignore[no-any-return]


def answer_fields(plan: AnswerPlan, request: RequestHead, own: bytes) -> bytes:
    """Field lines to add to a function's answer: `own` (call id, start time, server) unless the function set the same,
    and a Content-Type where it set none: the request's, else text/plain."""
    if not plan.wants_own:
        lines = [
            line for line in own.split(b"\r\n") if line and b"\n%b:" % line.partition(b":")[0].lower() not in plan.lower
        ]
        own = b"".join([line + b"\r\n" for line in lines])
    if plan.wants_content_type:
        return own + b"Content-Type: %b\r\n" % (request.get(b"content-type") or b"text/plain")
    return own
