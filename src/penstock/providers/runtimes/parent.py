"""What a warmed parent does: it imports one function in a sandbox of its own, then forks a replica for each launch it is handed.

The zygote forks it and calls `live`, which never returns into the zygote. A parent answers no requests and watches nothing; the
replicas become children of the zygote, which is told of each before it can have ended.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from penstock.errors import SettingsError
from penstock.providers.runtimes import replica, sandbox
from penstock.providers.runtimes.messages import (
    Forked,
    Frames,
    FromParent,
    Imported,
    Launch,
    NotForked,
    frame,
    read_launch,
)
from penstock.providers.runtimes.processes import children, die_with_parent, refuse_new_privileges
from penstock.providers.runtimes.spare import Spare, next_launch
from penstock.readiness import shorten
from penstock.watchdog.modes import load_mode
from penstock.watchdog.settings import load_settings
from penstock.watchdog.spawn import program_environment

if TYPE_CHECKING:
    from penstock.watchdog.importing import Application

Serve = Callable[[Mapping[str, str], str, "Application"], int]
"""A replica's main, for a function that has been imported."""

_READ = 1 << 20
_IDLE_MS = 200
"""Milliseconds without a launch before a process is forked that stands by for the next: not while a replica starts."""
_STANDS_WITHIN = 60.0
"""Seconds for a process to say that it stands by. Without one, replicas are forked when they are launched."""
_LUGGAGE_BYTES = 4 << 20
_LUGGAGE_FILES = 200
"""What the import has written to its /tmp and home is copied for each replica, up to this; with more, each replica imports."""


@dataclass(frozen=True)
class Upbringing:
    """What the zygote gives a parent. `launch` is a parent's own: its token and directory are not a replica's."""

    launch: Launch
    channel: socket.socket
    lifeline: int
    serve: Serve
    zygote: int
    """Its pid."""


def live(upbringing: Upbringing) -> int:
    """Import, report, fork; returns the exit code when the zygote lets go of it."""
    replica.let_go(upbringing.lifeline, keep=upbringing.channel.fileno())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
    return _Parent(upbringing).run()


class _Parent:
    def __init__(self, upbringing: Upbringing) -> None:
        self._launch = upbringing.launch
        self._channel = upbringing.channel
        self._lifeline = upbringing.lifeline
        self._serve = upbringing.serve
        self._zygote = upbringing.zygote
        self._directory = Path(upbringing.launch.directory)
        self._base = -1
        self._application: Application | None = None
        self._luggage: tuple[Path, ...] = ()
        self._spare: Spare | None = None

    def run(self) -> int:
        replica.furnish(self._directory, self._launch, self._launch.order.token)
        writer = replica.open_log(self._launch)
        try:
            self._enter()
            writer.start()
            outcome = self._import()
        except Exception:
            # Whatever it is, a replica that does all this itself tells its user.
            outcome = Imported(outcome="alone")
        self._flush()
        # From here on there is one thread only, so that forking is safe; a forked replica has a log of its own.
        writer.finish()
        null = os.open(os.devnull, os.O_WRONLY)
        for target in (1, 2):
            os.dup2(null, target)
        os.close(null)
        self._say(outcome)
        if outcome.outcome == "alone":
            return os.EX_OK
        gc.collect()
        gc.freeze()
        return self._fork_on_request()

    def _enter(self) -> None:
        self._base = sandbox.open_base()
        sandbox.enter(replica.plan_of(self._launch), nested=self._base >= 0)
        # Only now: entering a user namespace would make the kernel forget it.
        die_with_parent(self._zygote)
        if not self._launch.new_privileges:
            refuse_new_privileges()

    def _import(self) -> Imported:
        """As the watchdog would do it, see `penstock.watchdog.app`."""
        from penstock.watchdog import baton, workers  # noqa: F401 - imported once here instead of in every replica
        from penstock.watchdog.importing import load_application

        environ = replica.environment(self._launch, self._lifeline)
        os.umask(0o022)
        os.chdir(environ["HOME"] if os.path.isdir(environ["HOME"]) else "/")
        try:
            settings = load_settings(environ)
        except SettingsError:
            return Imported(outcome="alone")  # each replica says what is wrong
        load_mode(settings.mode)
        os.environb.clear()
        os.environb.update(program_environment(environ))
        self._application = load_application(settings)
        if self._application.failure:
            return Imported(outcome="failed", note=shorten(self._application.failure))
        if self._application.threads:
            return Imported(outcome="alone", note=f"threads ({', '.join(self._application.threads)})")
        if started := children():
            return Imported(outcome="alone", note=f"{len(started)} processes")
        return self._pack()

    def _pack(self) -> Imported:
        """Find what the import has left in its own directories."""
        folders = (self._directory / "tmp", self._directory / "home")
        found = [Path(folder) / name for top in folders for folder, _, names in os.walk(top) for name in names]
        size = sum(path.lstat().st_size for path in found)
        if len(found) > _LUGGAGE_FILES or size > _LUGGAGE_BYTES:
            return Imported(outcome="alone", note=f"{len(found)} temporary files, {size >> 20} MiB")
        self._luggage = tuple(folder for folder in folders if any(folder.iterdir()))
        return Imported(outcome="warm")

    def _fork_on_request(self) -> int:
        frames = Frames()
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        while True:
            if not self._spare and not poll.poll(_IDLE_MS):
                self._prepare()
            data = self._channel.recv(_READ)
            if not data:
                return os.EX_OK
            for body in frames.feed(data):
                self._launch_one(read_launch(body))

    def _launch_one(self, launch: Launch) -> None:
        spare, self._spare = self._spare, None
        pid = spare.hand_over(launch) if spare else 0
        if pid:
            self._say(Forked(token=launch.order.token, pid=pid))
        elif not self._fork(lambda: self._come_between(launch)):
            self._say(NotForked(token=launch.order.token))

    def _prepare(self) -> None:
        """Have a process stand by. Two forks take as long as all the rest of a replica's start."""
        spare = Spare.open()
        spare.ours.settimeout(_STANDS_WITHIN)
        if self._fork(lambda: self._come_between_spare(spare)):
            with contextlib.suppress(OSError):
                spare.adopt(int.from_bytes(spare.ours.recv(8), "little"))
        spare.ours.setblocking(False)
        self._spare = spare

    def _fork(self, life: Callable[[], int]) -> bool:
        """Fork one that forks: what it forks becomes the zygote's child when it ends. False when the system refuses."""
        try:
            pid = os.fork()
        except OSError:
            return False
        if pid == 0:
            os._exit(life())
        _, status = os.waitpid(pid, 0)
        return status == 0

    def _come_between(self, launch: Launch) -> int:
        code = 1
        try:
            pid = os.fork()
            if pid == 0:
                code = replica.FAILED
                code = self._become(launch)
            else:
                self._say(Forked(token=launch.order.token, pid=pid))
                code = 0
        except BaseException as error:
            _complain(error)
        return code

    def _come_between_spare(self, spare: Spare) -> int:
        code = 1
        try:
            code = self._stand_by(spare) if os.fork() == 0 else 0
        except BaseException as error:
            _complain(error)
        return code

    def _stand_by(self, spare: Spare) -> int:
        """Wait for a launch, and become that replica. Ends with the parent, whose ends of the sockets must not be open here."""
        spare.ours.close()
        self._channel.close()
        spare.theirs.send(os.getpid().to_bytes(8, "little"))
        launch = next_launch(spare.theirs)
        return self._become(launch) if launch else os.EX_OK

    def _become(self, launch: Launch) -> int:
        """The replica's whole life."""
        self._channel.close()
        os.setsid()
        if self._base >= 0:
            sandbox.return_to(self._base)
        own = msgspec.structs.replace(launch, alias=str(self._directory))
        self._move(Path(launch.directory))
        application = self._application
        if application is None:
            return replica.FAILED  # nothing is forked before the import

        def serve(environ: Mapping[str, str], address: str) -> int:
            return self._serve(environ, address, application)

        origin = replica.Origin(self._launch.order.token, self._luggage, nested=self._base >= 0)
        return replica.take_part(own, serve, self._lifeline, origin)

    def _move(self, directory: Path) -> None:
        """Paths of the parent's own that Python keeps become the replica's."""
        before, after = str(self._directory), str(directory)
        sys.path[:] = [_moved(entry, before, after) for entry in sys.path]
        tempfile = sys.modules.get("tempfile")
        if kept := getattr(tempfile, "tempdir", None):
            tempfile.__dict__["tempdir"] = _moved(kept, before, after)

    def _flush(self) -> None:
        from penstock.watchdog.seat import flush_streams

        flush_streams()

    def _say(self, report: FromParent) -> None:
        self._channel.sendall(frame(report))


def _complain(error: BaseException) -> None:
    with contextlib.suppress(OSError):
        os.write(2, f"a replica could not be set up: {error!r}\n".encode("utf-8", "backslashreplace"))


def _moved(path: str, before: str, after: str) -> str:
    return after + path[len(before) :] if path == before or path.startswith(before + "/") else path
