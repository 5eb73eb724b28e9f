"""Ctrl-C while modules are imported: the process ends on the spot, since there is nothing yet that would have to be put away.

Used by `main` alone, whose process it is. An exception would not do: raised within an import it may end up in a destructor,
which prints it and goes on.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells report it."""


@contextmanager
def interrupts_at_once() -> Iterator[None]:
    """For the length of a `with` block. Leaves SIGINT alone where somebody decided about it, as a shell does for `&`."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
