"""How a command ends: what is said on stderr, and the exit code that belongs to it.

Used by `main` for what is answered without click, and by `root` for everything else. Imports neither click nor a verb.
"""

from __future__ import annotations

import os
import sys

from penstock.cli.starting import INTERRUPTED
from penstock.errors import PenstockError

PIPE_CLOSED = 141
"""Exit code when whoever read our output went away: 128 + SIGPIPE, as for any other filter."""


def code_of(error: BaseException) -> int:
    """Say on stderr what went wrong, in one line where possible, and return the exit code that belongs to it.

    Raises the error itself where it was not foreseen and `PENSTOCK_DEBUG` is 1.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        forget_stdout()
        return PIPE_CLOSED
    if isinstance(error, PenstockError):
        return say(str(error), error.exit_code)
    if os.environ.get("PENSTOCK_DEBUG") == "1":
        raise error
    if isinstance(error, OSError):
        return say(f"{error.filename + ': ' if error.filename else ''}{error.strerror or error}", 1)
    return say(f"unexpected {type(error).__name__}: {error} (set PENSTOCK_DEBUG=1 to see where)", 1)


def say(message: str, code: int) -> int:
    """An error on stderr; gives the code back. Nobody is told where stderr is closed."""
    if sys.stderr is not None:
        print(f"Error: {message}", file=sys.stderr)
    return code


def flush_stdout() -> None:
    """Hand the output over. Raises BrokenPipeError, and OSError for a full disk."""
    if sys.stdout is not None:  # it is None when the process was started with it closed
        sys.stdout.flush()


def forget_stdout() -> None:
    """Point stdout at nowhere, or the interpreter's last flush would complain about the closed pipe again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
