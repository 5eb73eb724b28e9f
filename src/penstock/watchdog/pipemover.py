"""From one pipe into another without passing through this process: splice(2) moves the pages.

The streaming mode uses it for the rest of a body whose pipe was handed over (`handover`). It takes the place of the `PipeWriter`
that fed the program before.
"""

from __future__ import annotations

import asyncio
import os

from penstock.watchdog.pipes import PIPE_LARGE, READ_MOST, enlarge, unread


class PipeMover:
    """Moves what comes in `source` to `feed`, and closes both; with a `feed` of -1 all is discarded. The program sees the end of
    its input when the source has ended and `end` was called."""

    __slots__ = ("_ending", "_feed", "_left", "_loop", "_source", "_waits_to_write")

    def __init__(self, loop: asyncio.AbstractEventLoop, source: int, feed: int) -> None:
        os.set_blocking(source, False)
        if feed >= 0:
            enlarge(feed)
        self._loop = loop
        self._source = source
        self._feed = feed
        self._ending = False
        self._left = PIPE_LARGE
        """Bytes to move at most after `end`: no pipe holds more, so what comes later is not the program's."""
        self._waits_to_write = False
        loop.add_reader(source, self._ready)

    @property
    def closed(self) -> bool:
        return self._source < 0 and self._feed < 0

    def end(self) -> None:
        """The stage before has ended well: move what is left, then end even if a stray process holds its pipe open."""
        self._ending = True
        if self._source >= 0:
            self._ready()
        else:
            self.close()

    def stop(self) -> None:
        """The program reads no more: what comes from now on is discarded."""
        self._await_room(False)
        self._close_feed()

    def close(self) -> None:
        """Stop at once."""
        self._close_source()
        self._close_feed()

    def _ready(self) -> None:
        """Move what there is at once; once all has been written, until nothing is left."""
        while self._step() and self._ending:
            pass

    def _step(self) -> bool:
        """One move; False when there is nothing to do for now, or ever."""
        try:
            moved = self._move()
        except BlockingIOError:
            if unread(self._source):
                self._await_room(True)
            elif self._ending:
                self.close()
            else:
                self._await_room(False)
            return False
        self._await_room(False)
        if moved and (not self._ending or self._left > 0):
            return True
        self._close_source()
        if self._ending:
            self._close_feed()
        return False

    def _move(self) -> int:
        """Bytes moved, 0 at the end of the source. Raises BlockingIOError when the source is empty or the feed full."""
        if self._feed >= 0:
            try:
                moved = os.splice(self._source, self._feed, PIPE_LARGE, flags=os.SPLICE_F_NONBLOCK)
            except BrokenPipeError:
                self.stop()
                moved = self._discard()
        else:
            moved = self._discard()
        if self._ending:
            self._left -= moved
        return moved

    def _discard(self) -> int:
        return len(os.read(self._source, READ_MOST))

    def _await_room(self, full: bool) -> None:
        """Be called again when the feed has room, or else when the source has more."""
        if full == self._waits_to_write:
            return
        self._waits_to_write = full
        if full:
            self._loop.remove_reader(self._source)
            self._loop.add_writer(self._feed, self._ready)
        else:
            self._loop.remove_writer(self._feed)
            self._loop.add_reader(self._source, self._ready)

    def _close_source(self) -> None:
        if self._source >= 0:
            self._await_room(False)
            self._loop.remove_reader(self._source)
            os.close(self._source)
            self._source = -1

    def _close_feed(self) -> None:
        if self._feed >= 0:
            os.close(self._feed)
            self._feed = -1
