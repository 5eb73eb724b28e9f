"""What is written to the log when the function's own code fails: a sentence and its traceback, line by line.

Called by the modes that run the function in this process.
"""

from __future__ import annotations

from penstock.watchdog.importing import describe_error
from penstock.watchdog.logs import Log


def log_failure(log: Log, sentence: str, error: BaseException, call_id: bytes | None = None) -> None:
    """The sentence, then the traceback without our own frames. Never raises, whatever the exception's text does."""
    log.line(sentence, call_id)
    try:
        parts = describe_error(error)
    except BaseException as fault:  # the exception's own text failed, or there is no memory for it
        parts = [f"(no traceback can be given: {type(fault).__name__})"]
    for part in parts:
        for line in part.rstrip("\n").split("\n"):
            log.line(f"  {line}", call_id)


def caused_by(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an exception is one of `kind`, was raised because of one, or is a group of nothing but such."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, kind):
            return True
        if isinstance(current, BaseExceptionGroup):
            return all(caused_by(one, kind) for one in current.exceptions)
        current = current.__cause__ or current.__context__
    return False
