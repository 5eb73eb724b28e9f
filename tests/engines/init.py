"""The first process of a sandbox: `init.py NAME`. It makes the place ready, says so, and reaps orphans until it is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

PRIVATE = ("/run", "/etc/docker")
"""Where an engine leaves files however it is told where to keep them: in the sandbox these are its own, and empty."""


def main(name: str) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    for folder in PRIVATE:
        if os.path.isdir(folder):
            subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=True)
    socket.sethostname(name)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    os.write(1, b"ready\n")
    os.close(1)
    while True:
        signal.sigwait({signal.SIGCHLD})
        _reap()


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return


if __name__ == "__main__":
    main(sys.argv[1])
