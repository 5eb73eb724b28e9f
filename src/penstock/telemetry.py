"""Log set-up shared by all Penstock processes: one line per record on stderr.

Each process calls `configure_logging` once at its start. A terminal gets lines for people, everything else gets JSON.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

_CONTROL_CHARACTERS = {code: f"\\x{code:02x}" for code in (*range(32), 127) if code not in (9, 10)}


def configure_logging(level: str, role: str) -> None:
    """Send log records of at least `level` (debug, info, warning, error) to stderr, marked with this process's `role`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter(role) if sys.stderr.isatty() else JsonFormatter(role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Servers that libraries run for us announce every start and stop; ours say it once themselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class JsonFormatter(logging.Formatter):
    """One JSON object per record: time (RFC 3339, UTC), level, role, logger, message and, after an exception, error."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        entry = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "role": self._role,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class TerminalFormatter(logging.Formatter):
    """`12:34:56 control  warning  text`; control characters are shown, never sent to the terminal."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        clock = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return f"{clock} {self._role:<8} {record.levelname.lower():<7} {text.translate(_CONTROL_CHARACTERS)}"
