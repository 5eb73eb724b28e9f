"""Waiting for sources to change: which files count, whose they are, and a stream of what has changed.

Used by `up --watch` and `local-run --watch`. The kernel tells of changes (inotify, by way of watchfiles) of what is there; whether
a handler's folder has come, gone or been replaced is looked at once a second, since its watch would not tell.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue

from penstock.builders.plan import DOCKERFILE
from penstock.cli.stackoptions import StackFile
from penstock.errors import InvalidInput, PenstockError
from penstock.stack.fetch import is_stream
from penstock.stack.model import Stack, StackFunction

QUIET = 50
"""Milliseconds without a change after which a save counts as complete: editors write, rename and touch."""
LONGEST = 500
"""Milliseconds after which changes are told of although they go on."""
_TICK = 200
"""Milliseconds from the start of a watch to the first word from it, which says that nothing is missed from now on."""

_FOLDERS = frozenset(
    {".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".idea", ".mypy_cache", ".pytest_cache"}
)
"""Folders in which nothing is a source."""
_NOT_OF_A_HANDLER = ("build", "template")
"""Folders directly in the current directory, which may be a handler's folder as well."""
_SCRATCH = re.compile(
    r"\.sw[a-z]$|~$|^\.#|^#.*#$|^4913$|^\.DS_Store$|\.py[co]$|___jb_\w+___$|^flycheck_|\.goutputstream-"
)
"""Names of what editors and systems write beside a file that is being edited."""


def check_readable_again(watch: bool, stack_file: StackFile) -> None:
    """Raises InvalidInput where a stack file is to be followed that can be read once only."""
    if watch and stack_file.yaml and is_stream(stack_file.yaml):
        raise InvalidInput(f"--watch: needs a stack file that can be read again, not {stack_file.yaml}")


class Sources:
    """The files that a stack is made of, and which of its functions each belongs to."""

    def __init__(self, stack: Stack, directory: Path) -> None:
        self._here = os.path.realpath(directory)
        self.files = self._files(stack, directory)
        """The stack file, unless it came by network, and the files that it takes variables from."""
        self._seen: dict[Path, tuple[int, int] | None] = {}
        self._roots: dict[str, list[str]] = {}
        names = [function.name for function in stack.functions if has_source(function)]
        for function in stack.functions:
            if has_source(function):
                self._add(directory / function.handler, [function.name])
        for path in stack.copy:
            self._add(directory / path, names)

    @property
    def folders(self) -> list[str]:
        """Folders, or single files, to watch with all that is below them."""
        return sorted(self._roots)

    def touched(self, changed: Iterable[str]) -> set[str]:
        """Names of the functions that are made of one of these files."""
        found = set()
        for path in changed:
            for root, names in self._roots.items():
                if _is_below(path, root) and self._counts(path, root):
                    found.update(names)
        return found

    def file_touched(self, changed: Collection[str]) -> bool:
        """Whether the stack file itself has changed, or a file that it takes variables from."""
        return not self.files.isdisjoint(changed)

    def outdated(self) -> bool:
        """Whether a folder has come, gone or been replaced, so that another watch has to begin."""
        return any(_identity(path) != seen for path, seen in self._seen.items())

    @staticmethod
    def _files(stack: Stack, directory: Path) -> frozenset[str]:
        files = [directory / stack.file] if "://" not in stack.file else []
        files += [directory / path for function in stack.functions for path in function.environment_files]
        return frozenset(name for path in files for name in (_in_its_folder(path), os.path.realpath(path)))

    def _add(self, path: Path, names: Sequence[str]) -> None:
        self._seen[path] = _identity(path)
        if self._seen[path] is not None:
            self._roots.setdefault(os.path.realpath(path), []).extend(names)

    def _counts(self, path: str, root: str) -> bool:
        parts = os.path.relpath(path, root).split(os.sep)
        scratch = _SCRATCH.search(parts[-1]) is not None
        made = root == self._here and parts[0] in _NOT_OF_A_HANDLER
        return not scratch and not made and _FOLDERS.isdisjoint(parts)


def _identity(path: Path) -> tuple[int, int] | None:
    """Names this very folder or file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _in_its_folder(path: Path) -> str:
    """The path as the watch of its folder tells of it, where it may be a link."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def has_source(function: StackFunction) -> bool:
    """Whether there is a folder in which a function's source is."""
    return bool(function.handler and function.lang and not function.skip_build) or function.lang.lower() == DOCKERFILE


@contextmanager
def watched(sources: Sources) -> Iterator[Changes]:
    """Watch for as long as the context lasts."""
    changes = Changes()
    watches = [(sources.folders, True)]
    folders = {os.path.dirname(file) for file in sources.files}  # of files: editors put another one in their place
    watches.append((sorted(folder for folder in folders if os.path.isdir(folder)), False))
    threads = [
        threading.Thread(target=changes.follow, args=(paths, recursive), name="watch", daemon=True)
        for paths, recursive in watches
        if paths
    ]
    for thread in threads:
        thread.start()
    try:
        changes.wait_for_beginning(len(threads))
        yield changes
    finally:
        changes.stop()
        for thread in threads:
            thread.join()


class Changes:
    """What has changed since it was last asked."""

    def __init__(self) -> None:
        self._queue: Queue[set[str]] = Queue()
        self._stop = threading.Event()
        self._began = threading.Semaphore(0)
        self._failure: Exception | None = None

    def follow(self, paths: Sequence[str], recursive: bool) -> None:
        """Watch paths until `stop`; run in a thread of its own."""
        from watchfiles import watch

        try:
            began = False
            for changes in watch(
                *paths,
                watch_filter=None,
                debounce=LONGEST,
                step=QUIET,
                stop_event=self._stop,
                rust_timeout=_TICK,
                yield_on_timeout=True,
                recursive=recursive,
                raise_interrupt=False,
            ):
                if not began:
                    began = True
                    self._began.release()
                if changes:
                    self._queue.put({path for _, path in changes})
        except (OSError, RuntimeError) as error:  # the latter for what the system refuses, such as too many watches
            self._failure = error
        finally:
            self._began.release()

    def wait_for_beginning(self, threads: int) -> None:
        """Return when no change will be missed any more. Raises PenstockError when the system refuses to watch."""
        for _ in range(threads):
            self._began.acquire()
        self._check()

    def stop(self) -> None:
        self._stop.set()

    def next(self, timeout: float = 1.0) -> set[str]:
        """Wait for changes, at most `timeout` seconds; the paths, absolute. Ctrl-C gets through. Raises PenstockError when the
        system stops telling of them."""
        self._check()
        try:
            changed = self._queue.get(timeout=timeout)
        except Empty:
            return set()
        while not self._queue.empty():
            changed |= self._queue.get_nowait()
        return changed

    def _check(self) -> None:
        if self._failure is not None:
            raise PenstockError(f"sources cannot be watched: {self._failure}") from self._failure


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + os.sep)
