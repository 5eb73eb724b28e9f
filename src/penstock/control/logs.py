"""`/system/logs`: the lines of a function's replicas as NDJSON, one by one as they come (contract gateway §1.3).

Reads from the provider's iterator for as long as the client reads from us, and closes it when the client leaves.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from datetime import datetime

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from penstock.control.errors import plain_error
from penstock.control.request import go_bool, query_namespace
from penstock.control.schema import encode, log_message
from penstock.core.names import check_function_name
from penstock.errors import InvalidInput
from penstock.model import LogLine, LogQuery
from penstock.providers.base import Provider
from penstock.providers.validation import refuse_logs

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


class Logs:
    """Handler of the log resource. `stopping` ends streams that follow when the process shuts down."""

    def __init__(self, provider: Provider, stopping: asyncio.Event) -> None:
        self._provider = provider
        self._stopping = stopping

    async def get(self, request: Request) -> ASGIApp:
        params = request.query_params
        name, namespace = check_function_name(params.get("name", "")), query_namespace(request)
        try:
            query = read_log_query(name, namespace, params)
        except InvalidInput:
            return plain_error(422, "could not parse the log request")
        # Asked first, because a stream that follows a silent function would say nothing about an unknown one.
        refuse_logs((await self._provider.get(name, namespace)).spec)
        return LogStream(self._provider.logs(query), self._stopping)


def read_log_query(name: str, namespace: str, params: Mapping[str, str]) -> LogQuery:
    """A LogRequest in query form; of repeated parameters the last counts. Raises InvalidInput for `tail` and `since`."""
    tail, since = params.get("tail") or "-1", params.get("since", "")
    if not _INTEGER.fullmatch(tail):
        raise InvalidInput(f"tail: {tail!r} is not a whole number")
    return LogQuery(
        name=name,
        namespace=namespace,
        instance=params.get("instance", ""),
        tail=int(tail),
        follow=go_bool(params.get("follow", "")),
        since=_parse_time(since) if since else None,
    )


def _parse_time(text: str) -> datetime:
    if not _RFC3339.fullmatch(text):
        raise InvalidInput(f"since: {text!r} is not a time as in 2006-01-02T15:04:05Z")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(f"since: {text!r} is not a time: {error}") from error


class LogStream:
    """The answer: head at once, then a line per chunk until the source ends, the client leaves or we stop."""

    def __init__(self, lines: AsyncIterator[LogLine], stopping: asyncio.Event) -> None:
        self._lines = lines
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"application/x-ndjson"), (b"x-content-type-options", b"nosniff")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        source = asyncio.create_task(self._send_lines(send))
        gone = asyncio.create_task(_disconnected(receive))
        stopped = asyncio.create_task(self._stopping.wait())
        tasks: set[asyncio.Task[object]] = {source, gone, stopped}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            source_ended = source.done()
            await _cancel(tasks)
            await self._close_source()
        if source_ended:
            source.result()  # a source that broke cuts the answer, so that nobody takes it for a whole one
        if not gone.done() or gone.cancelled():
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_lines(self, send: Send) -> None:
        async for line in self._lines:
            message = encode(log_message(line)) + b"\n"
            await send({"type": "http.response.body", "body": message, "more_body": True})

    async def _close_source(self) -> None:
        close = getattr(self._lines, "aclose", None)
        if close:
            await close()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(tasks: set[asyncio.Task[object]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
