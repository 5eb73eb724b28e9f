"""Which of a function's log lines a query asks for, once they have been read; shared by the runtimes."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.model import LogLine, LogQuery


def select(query: LogQuery, lines: Iterable[LogLine]) -> list[LogLine]:
    """Lines of the wanted instance since the wanted time, sorted by time, the last `tail` of them."""
    wanted = [line for line in lines if matches(query, line)]
    wanted.sort(key=lambda line: line.timestamp)
    return wanted[-query.tail :] if query.tail > 0 else wanted


def matches(query: LogQuery, line: LogLine) -> bool:
    if query.instance and line.instance != query.instance:
        return False
    return query.since is None or line.timestamp >= query.since
