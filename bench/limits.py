"""The limit on open files, raised where a measurement needs more."""

from __future__ import annotations

import contextlib
import resource

from bench.processes import BenchError


def raise_open_files(wanted: int) -> None:
    """Let this process and those it starts open so many files. Raises BenchError when that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
        return
    raise BenchError(
        f"needs {wanted} open files, {hard} are allowed: raise the limit with `ulimit -n {wanted}` as root"
    )
