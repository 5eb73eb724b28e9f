"""Notices a worker whose loop does not turn because a handler blocks it, answers for it, and ends it.

Each worker has a thread of this; the parent uses the same clock for workers in which not even a thread gets its turn. Time in
which the observer itself stood still, as when a container is paused, is nobody's fault and does not count.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
import types
from collections.abc import Iterable

from penstock.watchdog.importing import is_machinery
from penstock.watchdog.scoreboard import Slot
from penstock.watchdog.seat import HEARTBEAT, flush_streams, say
from penstock.wire.server import Server

TICK = 0.5
"""Seconds between two looks of the thread."""
DOUBT = HEARTBEAT + 2 * TICK
"""Seconds beyond the limit: a heartbeat of a loop that turns may look as old, at the worst after the whole process stood still."""
ENDED = 75
"""Exit code of a worker that was ended because it stood still (EX_TEMPFAIL of sysexits.h)."""
_LATE = (
    b"HTTP/1.1 504 Gateway Timeout\r\nContent-Type: text/plain; charset=utf-8\r\nX-OpenFaaS-Internal: penstock-watchdog\r\n"
    b"Content-Length: %d\r\nConnection: close\r\n\r\n%b"
)


class StallClock:
    """How long a heartbeat has stood still."""

    __slots__ = ("_beat", "_looked", "_most", "_still")

    def __init__(self, tick: float) -> None:
        self._most = 2 * tick
        self._beat = 0.0
        self._looked = 0.0
        self._still = 0.0

    def look(self, beat: float, now: float) -> float:
        """Seconds, none before the first beat. To be called every `tick` seconds."""
        if beat != self._beat or not beat:
            self._still = 0.0
        else:
            self._still += min(now - self._looked, self._most)
        self._beat, self._looked = beat, now
        return self._still


class StallWatch:
    """The thread in a worker."""

    def __init__(self, slot: Slot, server: Server, limit: float) -> None:
        self._slot = slot
        self._server = server
        self._limit = limit
        self._clock = StallClock(TICK)
        self._over = threading.Event()
        self._watched = threading.get_ident()

    def start(self) -> None:
        """Watch the loop of the calling thread."""
        threading.Thread(target=self._run, name="stall-watch", daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def look(self, now: float) -> bool:
        """Whether the loop has stood still for longer than the limit, beyond doubt. To be called every `TICK` seconds."""
        return self._clock.look(self._slot.heartbeat, now) > self._limit + DOUBT

    def _run(self) -> None:
        while not self._over.wait(TICK):
            if self.look(time.monotonic()):
                self._end()

    def _end(self) -> None:
        """Answer the calls that have no answer, past the loop, and end the process."""
        text = f"the function blocked its event loop for more than {self._limit:g} s"
        answer_late(self._server.unanswered(), text)
        say(f"{text}; this worker ends. It was here:")
        frame = sys._current_frames().get(self._watched)
        for line in own_stack(frame) if frame is not None else ():
            say(line)
        flush_streams()
        os._exit(ENDED)


def own_stack(frame: types.FrameType) -> list[str]:
    """Where a thread is: the lines of its stack that come after all frames of ours."""
    stack = traceback.extract_stack(frame)
    ours = [index for index, entry in enumerate(stack) if is_machinery(entry.filename)]
    return "".join(traceback.format_list(stack[ours[-1] + 1 if ours else 0 :])).rstrip("\n").split("\n")


def answer_late(descriptors: Iterable[int], text: str) -> None:
    """504 on sockets to which nothing was written yet, as far as they take it at once."""
    body = text.encode() + b"\n"
    for fd in descriptors:
        try:
            with socket.socket(fileno=os.dup(fd)) as sock:
                sock.send(_LATE % (len(body), body), socket.MSG_DONTWAIT)
        except OSError:
            continue  # the client is gone, or does not read
