"""The load generator: runs wrk and reads what it prints."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

_DURATION = r"([0-9.]+)(us|ms|s|m|h)"
_PERCENTILE = re.compile(r"^\s+(50|75|90|99)%\s+" + _DURATION + r"\s*$", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s+([0-9.]+)\s*$", re.MULTILINE)
_TOTAL = re.compile(r"^\s+(\d+) requests in ", re.MULTILINE)
_NOT_OK = re.compile(r"^\s+Non-2xx or 3xx responses: (\d+)\s*$", re.MULTILINE)
_SOCKET = re.compile(r"^\s+Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)\s*$", re.MULTILINE)
_MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6, "h": 3600e6}


class LoadFailed(Exception):
    """The measurement is worthless: wrk failed, or requests did."""


@dataclass(frozen=True)
class Load:
    """One run of wrk. Latencies in microseconds."""

    rate: float
    """Requests per second."""
    requests: int
    p50: float
    p99: float


def parse(text: str) -> Load:
    """What `wrk --latency` printed. Raises LoadFailed when a number is missing or a request failed."""
    rate, total = _RATE.search(text), _TOTAL.search(text)
    latencies = {share: float(value) * _MICROSECONDS[unit] for share, value, unit in _PERCENTILE.findall(text)}
    if rate is None or total is None or not {"50", "99"} <= latencies.keys():
        raise LoadFailed(f"wrk printed something else:\n{text}")
    if bad := _NOT_OK.search(text):
        raise LoadFailed(f"{bad[1]} of {total[1]} answers were neither 2xx nor 3xx")
    if (errors := _SOCKET.search(text)) and any(int(count) for count in errors.groups()):
        raise LoadFailed(errors[0].strip())
    return Load(float(rate[1]), int(total[1]), latencies["50"], latencies["99"])


def run(url: str, *, connections: int, seconds: float, script: Path | None = None) -> Load:
    """One thread of wrk against `url` for `seconds` (whole ones). Raises LoadFailed."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
    if script is not None:
        command += ["-s", str(script)]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False, timeout=seconds + 60)
    if done.returncode:
        raise LoadFailed(f"wrk ended with code {done.returncode}: {done.stderr or done.stdout}")
    return parse(done.stdout)
