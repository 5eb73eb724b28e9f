"""How builds are told of on stderr: bars on a terminal, plain lines anywhere else, the compiler's words when one fails.

Used by the verbs that build, through `building`.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from penstock.builders.many import Outcome, Reporter
from penstock.cli.options import note
from penstock.cli.output import printable
from penstock.errors import BuildFailed

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_INDENT = "    "
_REMEMBERED = 4096
"""Lines of a build that are not told a second time when it fails."""


@contextmanager
def reporter(total: int, *, quiet: bool = False, doing: str = "Building") -> Iterator[Reporter]:
    """What tells of `total` builds, or other `doing`, while they go on. Quiet: of failures alone."""
    if quiet or total == 0:
        yield _Quiet()
    elif sys.stderr is not None and sys.stderr.isatty():
        with _Bars(total, doing) as bars:
            yield bars
    else:
        yield _Lines(doing)


def failure_text(outcome: Outcome, told: Collection[str] = ()) -> str:
    """The function's name and what went wrong, with the compiler's own words below it, but for lines that were `told` already;
    empty when nothing did."""
    if outcome.fault is None:
        return ""
    words = outcome.fault.words if isinstance(outcome.fault, BuildFailed) else ""
    fresh = [line for line in words.strip("\n").splitlines() if line.rstrip() not in told]
    lines = [_INDENT + printable(line.expandtabs(4)) for line in fresh] if any(map(str.strip, fresh)) else []
    return "\n".join([f"{outcome.name}: {outcome.fault}", *lines])


class _Quiet:
    def began(self, worker: int, name: str) -> None:
        pass

    def told(self, worker: int, name: str, words: str) -> None:
        pass

    def ended(self, worker: int, outcome: Outcome, seconds: float) -> None:
        if outcome.fault is not None:
            note(failure_text(outcome))


class _Lines:
    """As faas-cli tells it: the worker's number, an arrow, what it does."""

    def __init__(self, doing: str) -> None:
        self._doing = doing
        self._told: dict[int, deque[str]] = {}

    def began(self, worker: int, name: str) -> None:
        self._told[worker] = deque(maxlen=_REMEMBERED)
        note(f"[{worker}] > {self._doing} {name}.")

    def told(self, worker: int, name: str, words: str) -> None:
        told = self._told[worker]
        if not told or told[-1] != words:
            told.append(words)
            note(f"[{worker}] {_INDENT}{printable(words)}")

    def ended(self, worker: int, outcome: Outcome, seconds: float) -> None:
        told = frozenset(self._told.pop(worker, ()))
        how = "failed" if outcome.built is None else "unchanged" if outcome.built.cached else "done"
        note(f"[{worker}] < {self._doing} {outcome.name} {how} in {seconds:.2f}s.")
        if outcome.fault is not None:
            note(failure_text(outcome, told))


class _Bars:
    """A line for each build that goes on, and one for all of them."""

    def __init__(self, total: int, doing: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._progress: Progress = RichProgress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}", markup=False, style="dim"),
            console=Console(stderr=True),
            transient=True,
        )
        self._all = self._progress.add_task(doing, total=total, words="")
        self._tasks: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> _Bars:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def began(self, worker: int, name: str) -> None:
        with self._lock:
            self._tasks[name] = self._progress.add_task(f"  {name}", total=1, words="")

    def told(self, worker: int, name: str, words: str) -> None:
        self._progress.update(self._tasks[name], words=printable(words)[:80])

    def ended(self, worker: int, outcome: Outcome, seconds: float) -> None:
        from rich.text import Text

        self._progress.remove_task(self._tasks.pop(outcome.name))
        self._progress.advance(self._all)
        if outcome.fault is not None:
            self._progress.console.print(Text(failure_text(outcome)))
