"""Log lines about requests: `access_log`, `write_debug` and `debug_headers` (contract watchdog §1.9, §2.2).

The app makes one only where a setting asks for lines; otherwise a request costs no line. Classic's words differ from those of
the other modes, as those of its original do. Lines about failures are the modes' own and are always written.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from penstock.core.headers import Field
from penstock.watchdog.call import CLASSIC_METHODS, Call
from penstock.watchdog.cgi import PROMOTED, canonical_name
from penstock.watchdog.logs import Log, escape
from penstock.watchdog.settings import WatchdogSettings

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_PROBE = b"kube-probe"


class AccessLog:
    """Told of the beginning and the end of every request."""

    def __init__(self, settings: WatchdogSettings, log: Log) -> None:
        self._log = log
        self._access = settings.access_log
        self._debug = settings.write_debug
        self._headers = settings.debug_headers
        self._classic = settings.mode == "classic"

    def began(self, call: Call) -> None:
        request, log = call.request, self._log
        if self._classic and request.method not in CLASSIC_METHODS:
            return  # answered 405: nothing is run
        if self._headers:
            self._show("in", request.fields)
            call.on_head = functools.partial(self._show, "out")
        if self._access and self._classic:
            log.line("Forking fprocess.", call.call_id)
        if self._debug and self._classic:
            if request.query:
                log.line(f"Query  {request.query.decode('latin-1')}", call.call_id)
            log.line(f"Path  {request.path.decode('latin-1')}", call.call_id)
        elif self._debug:
            log.line(f"{request.method.decode('latin-1')} {request.target.decode('latin-1')}", call.call_id)

    def ended(self, call: Call) -> None:
        if self._classic:
            self._ended_classic(call)
        elif self._access and not (call.request.get(b"user-agent") or b"").startswith(_PROBE):
            request = call.request
            what = f"{request.method.decode('latin-1')} {request.target.decode('latin-1')}"
            status = f"{call.logged or call.status} {call.reason.decode('latin-1')}".rstrip()
            self._log.line(
                f"{what} - {status} - ContentLength: {human_size(call.size)} ({call.elapsed():.4f}s)", call.call_id
            )

    def _ended_classic(self, call: Call) -> None:
        if call.status == 200 and self._debug:
            self._log.line(f"Duration: {call.elapsed():.6f}s", call.call_id)
        elif call.status == 200 and self._access:
            self._log.line(f"Wrote {call.size} Bytes - Duration: {call.elapsed():.6f}s", call.call_id)

    def _show(self, direction: str, fields: Iterable[Field]) -> None:
        """`[in] Name=[v1 v2]` to stdout, one line for each name."""
        values: dict[bytes, list[bytes]] = {}
        for name, value in fields:
            if name in PROMOTED:
                continue
            values.setdefault(canonical_name(name), []).append(value)
        for name, several in values.items():
            self._log.out.write(escape(b"[%b] %b=[%b]" % (direction.encode(), name, b" ".join(several))) + b"\n")


def human_size(size: int) -> str:
    """Bytes in decimal units with four significant digits: `8B`, `1.511kB`; -1 for a size that nobody announced."""
    number, unit = float(size), 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number /= 1000
        unit += 1
    return f"{number:.4g}{_UNITS[unit]}"
