"""Who takes part in a pipeline, and which of the client's fields go to whom (docs/how-to/pipelines.md has the table).

Worked out once for a head that a client repeats, and again when the functions have changed. No I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

from penstock.core.headers import forward_fields
from penstock.core.pipelinetarget import MAX_STAGES, StageTarget, directed
from penstock.core.policy import AS_STAGES_SAY
from penstock.errors import FunctionNotFound, InvalidInput
from penstock.gateway.headers import RequestPlan, plan_request
from penstock.gateway.invocation import shorter
from penstock.gateway.routes import FunctionRoute, RouteTable
from penstock.wire.message import CHUNKED, RequestHead

_OF_THE_BODY = frozenset(
    {
        b"content-digest",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-location",
        b"content-md5",
        b"content-range",
        b"content-type",
        b"digest",
        b"repr-digest",
        b"trailer",
        b"x-timeout",
    }
)
"""Describe the client's body, or what was left of its patience: only the first stage gets them as they are."""

_OF_THE_ANSWER = frozenset(
    {
        b"accept",
        b"accept-charset",
        b"accept-encoding",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
    }
)
"""Are about what the client is to get: only the last stage gets them. One in between that compressed would break the next."""

Find = Callable[[bytes], FunctionRoute | None]


@dataclass(frozen=True, slots=True)
class Cast:
    """The functions of one pipeline, in their order, with what each is asked for, and the named pipelines that led to them."""

    stages: list[StageTarget] = field(default_factory=list)
    functions: list[FunctionRoute] = field(default_factory=list)
    pipelines: list[FunctionRoute] = field(default_factory=list)


def find_cast(asked: Iterable[StageTarget], find: Find) -> Cast:
    """Named pipelines taken apart into their stages. Raises FunctionNotFound, and InvalidInput for too many stages."""
    cast = Cast()
    _expand(asked, find, cast, depth=0)
    return cast


def patience(cast: Cast, asked: Collection[StageTarget]) -> float:
    """Seconds for the whole: of one named pipeline its own, else as long as the most patient function; 0 for no end."""
    if len(asked) == 1 and cast.pipelines and cast.pipelines[0].policy.timeout != AS_STAGES_SAY:
        return cast.pipelines[0].policy.timeout
    limits = [function.policy.timeout for function in cast.functions]
    return 0.0 if 0 in limits else max(limits)


def _expand(asked: Iterable[StageTarget], find: Find, cast: Cast, depth: int) -> None:
    for stage in asked:
        function = find(stage.name)
        if function is None:
            raise FunctionNotFound(f"function {stage.name.decode()} is not deployed")
        if not function.stages:
            cast.stages.append(stage)
            cast.functions.append(function)
            if len(cast.functions) > MAX_STAGES:
                raise InvalidInput(
                    f"pipeline: at most {MAX_STAGES} stages are accepted, those of its pipelines counted"
                )
            continue
        if (
            depth > MAX_STAGES
        ):  # a cycle, which is refused at deployment; two gateways may have accepted half of one each
            raise InvalidInput(f"pipeline {function.key} leads to itself")
        cast.pipelines.append(function)
        *inner, last = function.stages
        _expand([*inner, last if stage.target == b"/" else directed(last, stage.target)], find, cast, depth + 1)


class Part:
    """What all requests of one stage have in common, as long as their client repeats its head."""

    __slots__ = ("_http10", "_request", "function", "name", "number", "position", "prefix")

    def __init__(self, function: FunctionRoute, plan: RequestPlan, number: int, stages: int, http10: bool) -> None:
        self.function = function
        self.name = plan.name
        """Function as the request, or a named pipeline, names it."""
        self.number = number
        """1 for the first."""
        self.position = b"%d/%d %b" % (number, stages, plan.name)
        """As `X-Pipeline-Stage` tells it."""
        self.prefix = b"%bX-Pipeline-Index: %d\r\n" % (plan.prefix, number)
        """Request line and fields, less what describes the body and what is new in each call."""
        self._http10 = http10
        self._request = RequestHead(b"POST", b"/", http10, b"")

    def request(self, described: bytes) -> RequestHead:
        """The head, for the relay of a stage after the first. `described`: field lines about the body."""
        if self._request.raw_fields != described:  # what a function answers is mostly of one type
            self._request = RequestHead(b"POST", b"/", self._http10, described)
        return self._request


class Lineup:
    """All that one request head comes to, for as long as the functions stay as they are."""

    __slots__ = (
        "_timings",
        "call_id",
        "counted",
        "functions",
        "hurried",
        "needs",
        "parts",
        "pipelines",
        "timeout",
    )

    def __init__(self, cast: Cast, plans: Sequence[RequestPlan], limit: float, http10: bool) -> None:
        """`limit`: seconds that the functions allow for the whole, 0 for no end."""
        self.functions = cast.functions
        self.pipelines = cast.pipelines
        self.counted = (*cast.pipelines, *cast.functions)
        self.needs = Counter(cast.functions)
        """Slots of each function."""
        self.call_id = plans[0].call_id
        """The caller's own; empty where it gave none."""
        asked = plans[0].timeout
        self.timeout = shorter(limit, asked) if asked else limit
        """Seconds for the whole, 0 for no end."""
        self.hurried = bool(asked and self.timeout)
        """Whether the caller has an `X-Timeout` of its own, of which later stages are told the rest."""
        stages = len(plans)
        self.parts = [
            Part(function, plan, number, stages, http10)
            for number, (function, plan) in enumerate(zip(cast.functions, plans, strict=True), 1)
        ]
        self._timings = _timings(self.parts)

    def timings(self, milliseconds: tuple[float, ...]) -> bytes:
        """How long each stage that has begun has taken, as `Server-Timing` writes it."""
        begun = len(milliseconds)
        text = self._timings if begun == len(self.parts) else _timings(self.parts[:begun])
        return text % milliseconds


def _timings(parts: Sequence[Part]) -> bytes:
    """To be filled with the milliseconds of each: names of functions have no percent sign."""
    return b", ".join([b"%b;dur=%%.1f" % part.name for part in parts])


class PipelinePlan:
    """How one request head goes to the stages that it names; what a `RequestPlan` is for a single function."""

    __slots__ = (
        "_lineup",
        "_version",
        "asked",
        "by_reference",
        "forwarded",
        "ordinary",
        "request",
    )

    _lineup: Lineup

    def __init__(self, head: RequestHead, asked: tuple[StageTarget, ...], peer: str) -> None:
        self.asked = asked
        """The stages as the request names them; one, for a named pipeline."""
        self.ordinary = self.by_reference = False
        self.request = head.rewritten(head.target, head.raw_fields)
        """The head without an upgrade: what would be switched to is no stream from one stage to the next."""
        self.request.upgrade = b""
        self._version = -1  # of no table
        named = b"\nx-forwarded-for:" in b"\n" + forward_fields(self.request).lower()
        self.forwarded = b"" if named or not peer else b"X-Forwarded-For: %b\r\n" % peer.encode()
        """The field line of that name, unless the client's own is passed on. Each request has it behind what other clients'
        have as well: a watchdog knows that again (`wire.memory`)."""

    def lineup(self, routes: RouteTable) -> Lineup:
        """Who takes part as the functions are now. Raises FunctionNotFound, and InvalidInput for too many stages."""
        if self._version != routes.version:
            self._lineup = self._line_up(find_cast(self.asked, routes.find))
            self._version = routes.version
        return self._lineup

    def _line_up(self, cast: Cast) -> Lineup:
        last = len(cast.stages) - 1
        plans = [self._of(stage, number == 0, number == last) for number, stage in enumerate(cast.stages)]
        return Lineup(cast, plans, patience(cast, self.asked), self.request.http10)

    def _of(self, stage: StageTarget, first: bool, last: bool) -> RequestPlan:
        """Request line and fields of one stage, less what is new in each request."""
        drop: frozenset[bytes] = frozenset()
        if not first:
            drop |= _OF_THE_BODY
        if not last:
            drop |= _OF_THE_ANSWER
        fields = forward_fields(self.request, drop)
        if first:
            head = self.request.rewritten(stage.target, fields)
        else:
            head = RequestHead(b"POST", stage.target, False, fields.removesuffix(CHUNKED))
        return plan_request(head, stage.name, stage.target, "")
