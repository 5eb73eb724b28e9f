"""The `process_*` series that dashboards of any Prometheus client draw: processor time, memory, descriptors, start.

The app adds them to the watchdog's exposition. They speak of the process that answers, not of the programs it runs.
"""

from __future__ import annotations

import os
import resource

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_USER_TIME, _SYSTEM_TIME, _START, _VIRTUAL, _RESIDENT = 11, 12, 19, 20, 21
"""Places in /proc/self/stat behind the closing parenthesis of the program's name (proc_pid_stat(5), numbers 14 and so on)."""


def process_series() -> bytes:
    """The exposition of this process, ending in a newline; empty where /proc cannot be read."""
    try:
        with open("/proc/self/stat", "rb") as file:
            values = file.read().rpartition(b")")[2].split()
        open_fds = len(os.listdir("/proc/self/fd")) - 1  # without the listing's own
        booted = _boot_time()
    except OSError:
        return b""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    cpu = (int(values[_USER_TIME]) + int(values[_SYSTEM_TIME])) / _TICKS
    rows = (
        ("cpu_seconds_total", "counter", "Processor time in user and kernel mode, in seconds.", f"{cpu:.2f}"),
        ("max_fds", "gauge", "Most descriptors that may be open.", f"{soft}"),
        ("open_fds", "gauge", "Descriptors that are open.", f"{open_fds}"),
        ("resident_memory_bytes", "gauge", "Memory in use, in bytes.", f"{int(values[_RESIDENT]) * _PAGE}"),
        (
            "start_time_seconds",
            "gauge",
            "Start, in seconds since the epoch.",
            f"{booted + int(values[_START]) / _TICKS:.2f}",
        ),
        ("virtual_memory_bytes", "gauge", "Address space, in bytes.", f"{int(values[_VIRTUAL])}"),
    )
    lines = []
    for name, kind, words, value in rows:
        lines.append(f"# HELP process_{name} {words}\n# TYPE process_{name} {kind}\nprocess_{name} {value}\n")
    return "".join(lines).encode()


def _boot_time() -> int:
    """Seconds since the epoch. Raises OSError."""
    with open("/proc/stat", "rb") as file:
        return next((int(line.split()[1]) for line in file if line.startswith(b"btime ")), 0)
