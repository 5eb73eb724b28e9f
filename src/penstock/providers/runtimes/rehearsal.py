"""Runs the watchdog for a moment in the zygote itself, before any fork, so that first-time work costs replicas nothing.

Caches are filled, lazy imports done and code specialised; replicas share the result. The zygote calls it once.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from penstock.providers.runtimes.replica import LIFELINE, Main


def rehearse(main: Main, directory: Path, times: int) -> None:
    """Serve a few requests in this very process and stop again, `times` times."""
    socket_path = directory / f"rehearsal-{os.getpid()}.sock"
    for _ in range(times):
        lifeline, cut = os.pipe2(os.O_CLOEXEC)
        client = os.fork()
        if client == 0:
            os.close(lifeline)
            os._exit(_applaud(str(socket_path)))
        os.close(cut)
        environ = {"fprocess": "true", "suppress_lock": "true", LIFELINE: str(lifeline), "PATH": os.defpath}
        with _silenced():
            main(environ, f"unix:{socket_path}")
        os.close(lifeline)
        _reap_all()
        socket_path.unlink(missing_ok=True)


def _applaud(path: str) -> int:
    """The rehearsal's audience, a child: a few requests, then its end cuts the lifeline."""
    for _ in range(200):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(path)
            except OSError:
                time.sleep(0.001)
                continue
            for request in (b"GET /_/ready", b"GET /", b"POST /"):
                connection.sendall(request + b" HTTP/1.1\r\nHost: rehearsal\r\nContent-Length: 0\r\n\r\n")
                connection.recv(65536)
            return 0
    return 1


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Descriptors 1 and 2 lead nowhere meanwhile."""
    saved = os.dup(1), os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    for target in (1, 2):
        os.dup2(null, target)
    try:
        yield
    finally:
        for target, fd in zip((1, 2), saved, strict=True):
            os.dup2(fd, target)
            os.close(fd)
        os.close(null)


def _reap_all() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
