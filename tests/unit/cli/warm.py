"""The command line as processes that need not import it anew: each is forked from one that has.

The fixture `command_line` starts that one, as this file. A process is what it would be if it had been started by itself: its
arguments, environment, working directory and standard streams are its own. Tests of how it starts start it by themselves.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack

DEADLINE = 60.0
IMPORTED = ("penstock.cli.main", "penstock.cli.root", "penstock.cli.verbs.invoke", "penstock.cli.client", "aiohttp")
LARGEST = 64 << 10
"""Bytes that a pipe takes before anybody reads, and of arguments and environment."""


class CommandLine:
    """Runs `penstock`, one command at a time."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests.settimeout(DEADLINE)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def run(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a command with these bytes in a pipe on its stdin, until it ends."""
        assert len(stdin) <= LARGEST
        with ExitStack() as stack:
            out, err = stack.enter_context(tempfile.TemporaryFile()), stack.enter_context(tempfile.TemporaryFile())
            read, write = os.pipe()
            stack.callback(os.close, read)
            with open(write, "wb") as pipe:
                pipe.write(stdin)
            what = json.dumps([arguments, dict(os.environ), os.getcwd()]).encode()
            socket.send_fds(self._requests, [what], [read, out.fileno(), err.fileno()])
            code = int(self._requests.recv(16))
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(arguments, code, out.read(), err.read())

    def close(self) -> None:
        self._requests.close()
        self._process.wait(DEADLINE)


def serve(requests: socket.socket) -> None:
    """Fork a process for each request, and answer with its exit code."""
    for name in IMPORTED:
        importlib.import_module(name)
    gc.freeze()  # otherwise each process looks through all of it for garbage as it ends, and copies it by that
    while True:
        what, streams, _, _ = socket.recv_fds(requests, 2 * LARGEST, 3)
        if not what:
            return
        process = os.fork()
        if not process:
            requests.close()
            arguments, environ, directory = json.loads(what)
            become(arguments, environ, directory, streams)
        for stream in streams:
            os.close(stream)
        requests.send(str(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])).encode())


def become(arguments: list[str], environ: dict[str, str], directory: str, streams: list[int]) -> None:
    """Be the command. Ends by SystemExit."""
    from penstock.cli.main import main

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environ)
    os.chdir(directory)
    sys.argv = ["penstock", *arguments]
    main()


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
