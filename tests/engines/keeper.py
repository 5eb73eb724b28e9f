"""Keeps a sandbox for as long as its owner lives, and leaves nothing of it: `keeper.py OWNER NAME FOLDER`.

A process of its own, so that the sandbox ends and its files go even when the owner is killed by SIGKILL. It watches the
owner by a pidfd, which no thread's end and no inherited descriptor can deceive; the sandbox's first process watches it.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

INIT = Path(__file__).with_name("init.py")
CGROUPS = Path("/sys/fs/cgroup")


def main(owner: int, name: str, folder: str) -> None:
    try:
        _keep(owner, name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _remove_cgroups(name)


def _keep(owner: int, name: str) -> None:
    """Return when the owner has ended, has written to this program or closed its stdin, or the sandbox is gone."""
    try:
        watched = os.pidfd_open(owner)
    except ProcessLookupError:
        return
    if os.getppid() != owner:
        return
    namespaces = ["--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    inside = [sys.executable, "-I", "-S", str(INIT), name]
    sandbox = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "unshare", *namespaces, *inside], stdin=subprocess.DEVNULL
    )
    select.select([watched, os.pidfd_open(sandbox.pid), sys.stdin], [], [])
    # unshare ends when its child has ended, and the first process of a PID namespace when all others of it have.
    for child in Path(f"/proc/{sandbox.pid}/task/{sandbox.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    sandbox.wait()


def _remove_cgroups(name: str) -> None:
    for top in (CGROUPS / name, *CGROUPS.glob(f"*/{name}")):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
