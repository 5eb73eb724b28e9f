"""THE STORY of one request to a function.

A request names a function, or a pipeline of them; the worker looks it up, waits if there is no replica or no free slot, picks a
replica, relays the request to it and the answer back, and counts. Whatever goes wrong has one answer, and the answer says which
hop it was. What becomes of a request to a function is told in `invocation`, to a pipeline in `pipeline`.
"""

from __future__ import annotations

import asyncio
import os

from penstock.core.callid import CallIds
from penstock.core.pipelinetarget import StageTarget, pipeline_target
from penstock.core.routing import function_target
from penstock.errors import FunctionNotFound, InvalidInput
from penstock.gateway.byreference import ByReference
from penstock.gateway.headers import RequestPlan, names_objects, plan_request
from penstock.gateway.invocation import Invocation, TimedInvocation
from penstock.gateway.pipeline import Pipeline
from penstock.gateway.pipelineplan import PipelinePlan
from penstock.gateway.refusals import refuse
from penstock.gateway.routes import RouteTable
from penstock.gateway.wakeup import Wakeup
from penstock.wire.exchange import Asking
from penstock.wire.message import origin_form
from penstock.wire.timeouts import Timers


class Invoker:
    """Takes requests to functions. One per worker."""

    def __init__(self, routes: RouteTable, wakeup: Wakeup, timers: Timers, by_reference: ByReference) -> None:
        self.routes = routes
        self.wakeup = wakeup
        self.timers = timers
        self.by_reference = by_reference
        self.call_ids = CallIds(os.urandom)
        self.now = asyncio.get_running_loop().time

    def invoke(self, exchange: Asking) -> None:
        """Answer a request whose target lies under `/function/`."""
        request = exchange.request
        plan = request.note
        if plan is None:
            plan = request.note = self._plan(exchange)
            if plan is None:
                return
        if plan.ordinary:
            invocation = Invocation(self, exchange, plan)
        elif plan.by_reference:
            self.by_reference.begin(exchange, self.invoke)
            return
        elif isinstance(plan, PipelinePlan):
            self._begin_pipeline(exchange, plan)
            return
        else:
            invocation = TimedInvocation(self, exchange, plan)
        function = self.routes.find(plan.name)
        if function is None:
            invocation.unknown()
        elif function.stages:
            self._begin_named(exchange)
        else:
            invocation.begin(function)

    def _plan(self, exchange: Asking) -> RequestPlan | PipelinePlan | None:
        """What the head asks for; None when it was refused."""
        request = exchange.request
        target = origin_form(request.target)
        named = function_target(target)
        if named is not None:
            return plan_request(request, *named, exchange.peer)
        try:
            stages = pipeline_target(target)
        except InvalidInput as error:
            refuse(exchange, 400, str(error).encode(), b"")
            return None
        if stages is None:
            refuse(exchange, 404, b"no function has such a name: it is /function/NAME[.NAMESPACE][/path]", b"")
            return None
        if names_objects(request):
            return RequestPlan(b"", b"", b"", b"", False, by_reference=True)
        return PipelinePlan(request, stages, exchange.peer)

    def _begin_named(self, exchange: Asking) -> None:
        """A pipeline that was deployed under a name."""
        named = function_target(origin_form(exchange.request.target))
        asked = (StageTarget(*named),) if named else ()
        exchange.request.note = plan = PipelinePlan(exchange.request, asked, exchange.peer)
        self._begin_pipeline(exchange, plan)

    def _begin_pipeline(self, exchange: Asking, plan: PipelinePlan) -> None:
        if exchange.request.method == b"HEAD":
            refuse(exchange, 405, b"the head of a pipeline's answer is known when it has run: use GET or POST", b"")
            return
        try:
            lineup = plan.lineup(self.routes)
        except FunctionNotFound as error:
            if self.routes.synced:
                refuse(exchange, 404, str(error).encode(), b"")
            else:
                refuse(exchange, 503, b"the gateway has not heard of its functions yet, try again", b"", retry=True)
            return
        except InvalidInput as error:
            refuse(exchange, 400, str(error).encode(), b"")
            return
        if not lineup.pipelines and len(plan.asked) == 1:  # what was a pipeline is now a function
            exchange.request.note = None
            self.invoke(exchange)
            return
        Pipeline(self, exchange, plan, lineup).begin()
