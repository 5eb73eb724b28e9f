"""Who takes part in a pipeline, and which of the client's fields go to whom (docs/how-to/pipelines.md has the table).

Worked out once for a head that a client repeats, and again when the functions have changed. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from penstock.core.headers import forward_fields
from penstock.core.pipelinetarget import MAX_STAGES, StageTarget, directed
from penstock.core.policy import AS_STAGES_SAY
from penstock.errors import FunctionNotFound, InvalidInput
from penstock.gateway.headers import RequestPlan, plan_request
from penstock.gateway.routes import FunctionRoute
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


class PipelinePlan:
    """How one request head goes to the stages that it names; what a `RequestPlan` is for a single function."""

    __slots__ = ("_planned", "_plans", "asked", "by_reference", "call_id", "ordinary", "request", "timeout")

    def __init__(self, head: RequestHead, asked: tuple[StageTarget, ...], peer: str) -> None:
        self.asked = asked
        """The stages as the request names them; one, for a named pipeline."""
        self.ordinary = self.by_reference = False
        self.request = head.rewritten(head.target, head.raw_fields)
        """The head without an upgrade: what would be switched to is no stream from one stage to the next."""
        self.request.upgrade = b""
        self._planned: list[StageTarget] = []
        self._plans: list[RequestPlan] = []
        own = plan_request(head, b"", b"/", peer)
        self.call_id = own.call_id
        self.timeout = own.timeout

    def of_each(self, stages: list[StageTarget], peer: str) -> list[RequestPlan]:
        """Request line and fields for each of `stages`, less what is new in each request."""
        if stages != self._planned:
            last = len(stages) - 1
            self._plans = [self._of(stage, number == 0, number == last, peer) for number, stage in enumerate(stages)]
            self._planned = stages
        return self._plans

    def _of(self, stage: StageTarget, first: bool, last: bool, peer: str) -> RequestPlan:
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
        return plan_request(head, stage.name, stage.target, peer)
