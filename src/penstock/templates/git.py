"""Runs git, for `repository`: its own words on failure, no questions, no protocol but the usual ones, nothing left running.

git leads a session of its own: it has no terminal to ask for a password on, and Ctrl-C reaches us, who end it with its helpers.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from penstock.core.shown import shown
from penstock.endsignals import undisturbed
from penstock.errors import NotSupported, PenstockError

_HERE = re.compile(
    r"GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_OBJECT_DIRECTORIES|NAMESPACE|PREFIX|COMMON_DIR)"
)
"""Variables that a git hook hands to what it starts: they would point at another repository than ours."""
SILENCE = 60
"""Seconds without a byte from an HTTP server until it is given up."""
_LONGEST = 4000
"""Characters of git's words that are shown, the last ones."""


class GitFailed(PenstockError):
    """git ended badly; the message has its own words."""


class Git:
    """git with the environment of one command."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """Raises NotSupported where git is not installed."""
        program = shutil.which("git", path=environ.get("PATH"))
        if program is None:
            raise NotSupported("git is not installed, which template repositories need: apt-get install git")
        self._program = program
        self._environ = {
            "GIT_HTTP_LOW_SPEED_LIMIT": "1",
            "GIT_HTTP_LOW_SPEED_TIME": str(SILENCE),
            **{name: value for name, value in environ.items() if not _HERE.fullmatch(name)},
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
            "LC_ALL": "C.UTF-8",
        }

    def run(self, arguments: Sequence[str], directory: Path | None = None, most: int = 1 << 20) -> bytes:
        """What git writes to stdout. Raises GitFailed, also when that is more than `most` bytes.

        Whatever interrupts the wait, and whatever git does, ends git and all that it has started.
        """
        child: subprocess.Popen[bytes] | None = None
        try:
            with undisturbed():
                child = self._start(arguments, directory)
            output, words = _listen(child, most)
        except BaseException:
            if child is not None:
                _end(child)
            raise
        finally:
            for pipe in (child.stdout, child.stderr) if child is not None else ():
                if pipe is not None:
                    pipe.close()
        if child.returncode != 0:
            raise GitFailed(_own_words(words) or f"git {arguments[0]} ended with exit code {child.returncode}")
        return output

    def _start(self, arguments: Sequence[str], directory: Path | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [self._program, *arguments],
            cwd=directory,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


def _listen(child: subprocess.Popen[bytes], most: int) -> tuple[bytes, bytes]:
    """All of stdout and the end of stderr, which a server may fill without end, once git has ended. Raises GitFailed."""
    output, words = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        for pipe, kept in ((child.stdout, output), (child.stderr, words)):
            if pipe is not None:
                selector.register(pipe, selectors.EVENT_READ, kept)
        while selector.get_map():
            for key, _ in selector.select():
                data = os.read(key.fd, 1 << 16)
                if not data:
                    selector.unregister(key.fileobj)
                key.data.extend(data)
            del words[: -4 * _LONGEST]
            if len(output) > most:
                raise GitFailed(f"git says more than {most} bytes, which no repository of templates needs")
        child.wait()
    return bytes(output), bytes(words)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Kill the whole session's group; git's helpers, such as ssh, are in it, and may outlive git itself."""
    if child.returncode is None:  # it has not been waited for, so the number is still its own
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _own_words(words: bytes) -> str:
    """What git has said, without its progress and without what would steer a terminal."""
    lines = (line.rstrip("\r").rpartition("\r")[2] for line in words.decode(errors="replace").rstrip().split("\n"))
    text = "\n".join(line for line in lines if not line.startswith("Cloning into "))
    return shown(text)[-_LONGEST:].strip()
