"""The function as a Python object: imported into this process, or the reason why it could not be.

The modes `python`, `asgi` and `wsgi` are given what is loaded here, before the watchdog forks the processes that serve it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Application:
    """What `handler` names. With a `failure` there is no `target`, and the watchdog is never ready."""

    target: Any = None
    """The imported object: a function, a class, an ASGI or a WSGI application."""
    failure: str = ""
    """Why the import failed: one sentence, then the traceback in the lines after it."""
