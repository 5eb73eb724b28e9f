"""Where and with what the numbers were taken."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import penstock

ROOT = Path(__file__).resolve().parent.parent


def describe(quick: bool) -> dict[str, str]:
    """Facts that belong beside the table."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit() + (" with uncommitted changes" if _dirty() else ""),
        "kind": "quick run: short measurements, few rounds" if quick else "full run",
        "processor": f"{_processor()}, {os.cpu_count()} visible",
        "memory": f"{_memory_gib():.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": ", ".join(_versions()),
        "load at start": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def commit() -> str:
    """Short hash of the commit checked out; `unknown` outside a repository."""
    return _git("rev-parse", "--short", "HEAD") or "unknown"


def _dirty() -> bool:
    return bool(_git("status", "--porcelain", "--untracked-files=no", "--", "src", "bench"))


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _versions() -> list[str]:
    ours = [f"penstock {penstock.__version__}", *(f"{name} {version(name)}" for name in ("uvloop", "httptools"))]
    return [*ours, _version(["nginx", "-v"], r"nginx/([\d.]+)", "nginx"), _version(["wrk", "-v"], r"wrk (\S+)", "wrk")]


def _version(command: list[str], pattern: str, name: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return f"{name} not installed"
    found = re.search(pattern, done.stdout + done.stderr)
    return f"{name} {found[1] if found else 'of unknown version'}"


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
