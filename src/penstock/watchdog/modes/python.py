"""mode=python: the handler is called in this process, on the loop or in a thread (contract watchdog §5.4).

The app's workers run it. A call becomes a `Job`, which gathers the body, keeps the time and sends the answer; `results` makes
answers of what handlers return, `threads` and `guard` keep one call from getting into the way of others.
"""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Callable
from typing import Any

from penstock.watchdog.call import INTERNAL, PLAIN, Call
from penstock.watchdog.event import Context as CallContext
from penstock.watchdog.event import Event, Missing, know_the_place
from penstock.watchdog.guard import Guard
from penstock.watchdog.importing import describe_error
from penstock.watchdog.jobs import BODY_MOST, TOO_LARGE, Job, Outlet
from penstock.watchdog.modes import Context
from penstock.watchdog.results import Answer, Renderer, WrongResult
from penstock.watchdog.threads import Threads
from penstock.wire.timeouts import Sweeper

SWEEP = 0.1
"""Seconds between two looks at the deadlines."""
LOST_AFTER = 0.5
"""Seconds that a handler gets to return after its deadline, before its thread counts as lost."""
CHECK = 1.0
"""Seconds between two looks at what only a broken handler changes."""
_COMMON = frozenset({str, bytes, dict, list, tuple, type(None)})
"""What most handlers return, of which there is no need to ask whether it can be awaited."""
_LINES_MOST = 200
"""Lines of a traceback in the log."""


class Python:
    """Calls the handler."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._loop = context.loop
        self._handler = context.application.target
        takes = _parameters(self._handler)
        raw = os.environ.get("RAW_BODY", "").lower() in ("true", "1")
        self._arguments: Callable[[Job], tuple[Any, ...]] = (
            _nothing if takes == 0 else (_raw if raw else _text) if takes == 1 else _event_and_context
        )
        self._asynchronous = is_asynchronous(self._handler)
        self._renderer = Renderer(context.settings.content_type, plain=takes == 1)
        self.sweeper = Sweeper(context.loop, SWEEP)
        self.threads: Threads[Job] = Threads(context.loop, context.settings.python_threads, self._work, context.baton)
        self._guard = Guard(context.loop)
        self._damaged = 0
        self._checking = context.loop.call_later(CHECK, self._check)

    async def start(self) -> None:
        know_the_place()

    def handle(self, call: Call) -> None:
        job = Job(self, call)
        exchange = call.exchange
        self.sweeper.watch(job)
        exchange.watch(job)
        if exchange.body_done:
            self.begin(job)
            return
        if (call.request.content_length or 0) > BODY_MOST:
            job.refuse(413, TOO_LARGE)
            return
        job.gather(exchange.take_arrived(False))

    def unready(self) -> str:
        return ""

    async def stop(self) -> None:
        self._checking.cancel()
        self.threads.close()
        self._guard.close()

    # For jobs

    def begin(self, job: Job) -> None:
        """The body is complete: call the handler."""
        if self._asynchronous:
            job.task = self._loop.create_task(self._run(job))
        else:
            self.threads.submit(job)

    def late(self, job: Job) -> None:
        """The deadline has passed while a thread was at work on it."""
        self._loop.call_later(LOST_AFTER, self._look_after, job)

    def _look_after(self, job: Job) -> None:
        if job.in_thread:
            self._context.leave(f"a call did not return within {job.call.timeout:g} s and its thread is lost")

    # On the loop

    async def _run(self, job: Job) -> None:
        """A handler that is asynchronous, or the awaitable that another has returned."""
        try:
            result = self._handler(*self._arguments(job)) if job.awaitable is None else job.awaitable
            answer = self._renderer.render(await result if inspect.isawaitable(result) else result)
        except BaseException as error:
            answer = self._failed(job, error)
        finally:
            self._guard.after_call()
        if answer.stream is None:
            job.finish(answer)
        elif hasattr(answer.stream, "__anext__"):
            await self._pour(job, answer)
        else:
            job.answer = answer
            self.threads.submit(job)

    async def _pour(self, job: Job, answer: Answer) -> None:
        """The pieces of an asynchronous iterator."""
        outlet = Outlet(job, answer, self.threads.post)
        stream: Any = answer.stream
        try:
            async for piece in stream:
                if not await outlet.send(piece):
                    break
            else:
                outlet.finish()
        except BaseException as error:
            outlet.fail(self._failed(job, error))
        finally:
            await _close(stream)
            self._guard.after_call()

    # In a thread

    def _work(self, job: Job) -> None:
        if job.over:
            return  # its time was over while it waited
        job.in_thread = True
        try:
            answer = job.answer or self._call(job)
            if answer is None:
                self.threads.post(lambda: self._await(job))
            elif answer.stream is None:
                job.answer = answer
                self.threads.post(job.send)
            elif hasattr(answer.stream, "__anext__"):
                job.answer = answer
                self.threads.post(lambda: self._begin_pouring(job))
            else:
                self._drip(job, answer)
        finally:
            job.in_thread = False

    def _call(self, job: Job) -> Answer | None:
        """The handler's answer; None when it gave an awaitable."""
        try:
            result = self._handler(*self._arguments(job))
            if type(result) not in _COMMON and inspect.isawaitable(result):
                job.awaitable = result
                return None
            return self._renderer.render(result)
        except BaseException as error:
            return self._failed(job, error)
        finally:
            self._guard.after_call()

    def _drip(self, job: Job, answer: Answer) -> None:
        """The pieces of an iterator, as fast as the client takes them."""
        outlet = Outlet(job, answer, self.threads.post)
        stream: Any = answer.stream
        try:
            for piece in stream:
                if not outlet.put(piece):
                    break
            else:
                outlet.finish()
        except BaseException as error:
            outlet.fail(self._failed(job, error))
        finally:
            try:
                getattr(stream, "close", _nothing_to_do)()
            except BaseException as error:
                self._failed(job, error)
            self._guard.after_call()

    def _await(self, job: Job) -> None:
        job.task = self._loop.create_task(self._run(job))

    def _begin_pouring(self, job: Job) -> None:
        if job.answer is not None:
            job.task = self._loop.create_task(self._pour(job, job.answer))

    # Failures

    def _failed(self, job: Job, error: BaseException) -> Answer:
        """The answer for a handler that failed; what it did goes to the log."""
        if isinstance(error, Missing):
            return Answer(400, (PLAIN,), f"{error}\n".encode("utf-8", "replace"))
        if isinstance(error, WrongResult):
            self._note(job, str(error))
            return Answer(500, (PLAIN, INTERNAL), f"{error}\n".encode("utf-8", "replace"))
        if not (job.cancelled and isinstance(error, asyncio.CancelledError)):
            text = _describe(error)
            self._note(job, f"the handler failed: {text}")
            if self._context.settings.write_debug:
                return Answer(500, (PLAIN, INTERNAL), f"{text}\n".encode("utf-8", "replace"))
        return Answer(500, (PLAIN, INTERNAL), b"the handler failed; its log says why\n")

    def _note(self, job: Job, text: str) -> None:
        """Lines for the log, with the call's id in the first."""
        call_id = job.call.call_id
        lines = (f"call {call_id.decode('latin-1')}: {text}" if call_id else text).split("\n")

        def write() -> None:
            for line in lines:
                self._context.log.line(line, call_id)

        self.threads.post(write)

    def _check(self) -> None:
        damage = self._guard.damaged()
        self._damaged = self._damaged + 1 if damage else 0
        if self._damaged > 2:  # a handler may redirect its output for a while
            self._context.leave(damage)
        else:
            self._checking = self._loop.call_later(CHECK, self._check)


def _describe(error: BaseException) -> str:
    try:
        lines = "".join(describe_error(error)).rstrip("\n").split("\n")
    except BaseException:  # its text cannot be had, or there is no memory for it
        return type(error).__name__
    summary = lines[-1] if len(lines[-1]) < 1000 else lines[-1][:1000] + "…"
    return "\n".join((summary, *(line[:2000] for line in lines[:_LINES_MOST])))


def _parameters(handler: Any) -> int:
    """Positional arguments that the handler takes: 0, 1, or 2 for more and for what cannot be known."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        return 2
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return 2
    required = [
        one
        for one in parameters
        if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD) and one.default is one.empty
    ]
    possible = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return min(len(required), 2) if required or not possible else min(len(possible), 2)


def is_asynchronous(handler: Any) -> bool:
    """Whether it is called on the loop."""
    while hasattr(handler, "func"):  # functools.partial
        handler = handler.func
    candidates = (handler, getattr(handler, "__call__", None))  # noqa: B004 - the method itself is asked
    return any(inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one) for one in candidates)


def _nothing(job: Job) -> tuple[Any, ...]:
    return ()


def _raw(job: Job) -> tuple[Any, ...]:
    return (job.content,)


def _text(job: Job) -> tuple[Any, ...]:
    return (job.content.decode("utf-8", "replace"),)


def _event_and_context(job: Job) -> tuple[Any, ...]:
    return Event(job.call.request, job.content), CallContext(job.call)


def _nothing_to_do() -> None:
    """For iterators that cannot be closed."""


async def _close(stream: Any) -> None:
    close = getattr(stream, "aclose", None)
    if close is not None:
        try:
            await close()
        except BaseException:
            return  # it was broken off; nobody waits for what it says
