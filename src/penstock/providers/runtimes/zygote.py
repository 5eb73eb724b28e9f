"""The zygote: a single-threaded process that has imported everything a replica needs and forks replicas on request.

`python -m penstock.providers.runtimes.zygote` is started by the supervisor; the process runtime talks to it over a unix
socket. It reaps replicas, reports their ends, and kills what a dead replica leaves behind; it decides nothing. Functions that
are imported are never imported here but in warmed parents, see `parents`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import select
import signal
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from penstock.errors import PenstockError
from penstock.providers.runtimes.messages import (
    Cancel,
    Exited,
    Forget,
    FromZygote,
    Hello,
    Launch,
    Launched,
    ToZygote,
    frame,
    read_request,
)
from penstock.providers.runtimes.parent import Serve
from penstock.providers.runtimes.parents import Parents
from penstock.providers.runtimes.peer import Peer
from penstock.providers.runtimes.processes import become_subreaper, children, kill, mark_of, stat_of
from penstock.providers.runtimes.rehearsal import rehearse
from penstock.providers.runtimes.replica import LIFELINE, Main, become
from penstock.providers.runtimes.sandbox import Plan, enter
from penstock.providers.runtimes.spare import Spare, stand_by
from penstock.settings import SETTINGS_VARIABLE, restore_settings

_UNREPORTED = 1000
"""Ends kept for a control process that is away; older ones it learns from their records."""
_BACKLOG = 16
_IDLE_MS = 200
"""Milliseconds without work before a spare is made: its making must not disturb the start of the replica that used the last."""
_REHEARSALS = 10
"""Python specialises code after eight calls."""
_KEPT_VARIABLES = ("PATH", "LANG", "TZ", "PYTHONPATH", "PENSTOCK_RUN_ID", LIFELINE)

_log = logging.getLogger("penstock.zygote")


class Zygote:
    """Forks, reaps and reports. `main` is what a replica runs once it is set up, `serve` the same for an imported function."""

    def __init__(self, path: Path, main: Main, serve: Serve, environ: Mapping[str, str]) -> None:
        self._main = main
        self._run_id = environ.get("PENSTOCK_RUN_ID", "")
        self._lifeline = int(environ.get(LIFELINE) or -1)
        self._path = path
        self._sandbox = ""
        self._replicas: dict[int, str] = {}
        self._clients: dict[int, Peer] = {}
        self._unreported: deque[Exited] = deque(maxlen=_UNREPORTED)
        self._spare: Spare | None = None
        self._stopping = False
        self._poll = select.poll()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._wake, self._bell = socket.socketpair()
        self._parents = Parents(self, serve, self._lifeline)

    def run(self) -> None:
        """Serve until SIGTERM or the end of the lifeline."""
        become_subreaper()
        if self._lifeline >= 0:
            os.set_inheritable(self._lifeline, False)
            self._poll.register(self._lifeline, select.POLLIN)
        self._sandbox = _try_sandbox(self._path.parent)
        self._handle_signals()
        self._listen()
        gc.collect()
        gc.freeze()
        while not self._stopping:
            events = self._poll.poll(self._parents.tick_ms if self._spare else _IDLE_MS)
            if not events and not self._spare:
                self._prepare()
            for fd, _ in events:
                self._dispatch(fd)
            self._parents.look()
        self._parents.end_all()

    def _handle_signals(self) -> None:
        for side in (self._wake, self._bell):
            side.setblocking(False)
        signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._poll.register(self._wake, select.POLLIN)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _listen(self) -> None:
        # Under another name first: at its own there is always a socket that takes connections, or none.
        fresh = self._path.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        mask = os.umask(0o177)
        self._listener.bind(str(fresh))
        os.umask(mask)
        self._listener.listen(_BACKLOG)
        fresh.replace(self._path)
        self._poll.register(self._listener, select.POLLIN)

    def _dispatch(self, fd: int) -> None:
        if fd == self._wake.fileno():
            self._wake.recv(4096)
            self._reap()
        elif fd == self._listener.fileno():
            self._accept()
        elif fd == self._lifeline:
            self._stopping = True
        elif fd in self._clients:
            self._serve(self._clients[fd])
        else:
            self._parents.attend(fd)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except BlockingIOError:
            return
        _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid != os.getuid():
            _log.warning("refused a connection of user %d", uid)
            connection.close()
            return
        connection.setblocking(False)
        client = Peer(connection)
        self._clients[connection.fileno()] = client
        self._poll.register(connection, select.POLLIN)
        replicas = {token: pid for pid, token in self._replicas.items()}
        hello = Hello(
            pid=os.getpid(),
            run_id=self._run_id,
            sandbox=self._sandbox,
            replicas=replicas,
            parents=self._parents.living(),
        )
        self._send(client, hello)
        while self._unreported:
            self._send(client, self._unreported.popleft())

    def _serve(self, client: Peer) -> None:
        """Read what is there and write what waits; drop a client that is gone or speaks something else."""
        try:
            bodies = client.receive()
            client.flush()
            for request in [read_request(body) for body in bodies]:
                self._obey(request)
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            if not isinstance(error, ConnectionError):
                _log.warning("dropped a connection: %s", error)
            self._drop(client)
            return
        self._watch(client)

    def _obey(self, request: ToZygote) -> None:
        if isinstance(request, Cancel):
            self._parents.cancel(request.token)
        elif isinstance(request, Forget):
            self._parents.forget(request.key)
        elif not self._parents.take(request):
            self.launch(request)

    def _drop(self, client: Peer) -> None:
        fd = client.connection.fileno()
        if self._clients.pop(fd, None):
            self._poll.unregister(fd)
            client.connection.close()

    def _watch(self, client: Peer) -> None:
        if client.connection.fileno() in self._clients:
            events = select.POLLIN | select.POLLOUT if client.waiting else select.POLLIN
            self._poll.modify(client.connection, events)

    def _prepare(self) -> None:
        """Have a forked process stand by. Without one, launches fork; so a failure only costs time."""
        spare = Spare.open()
        pid = self.fork(lambda: stand_by(spare.theirs, self._main, self._lifeline))
        if pid:
            spare.adopt(pid)
            self._spare = spare
        else:
            spare.close()

    # What warmed parents need of us

    def poll(self) -> select.poll:
        return self._poll

    def launch(self, launch: Launch) -> None:
        """Start a replica that imports its function itself, if it has one to import."""
        token = launch.order.token
        spare, self._spare = self._spare, None
        pid = spare.hand_over(launch) if spare else 0
        if not pid:
            pid = self.fork(lambda: become(launch, self._main, self._lifeline))
        if pid:
            self.adopt(pid, token)
        else:
            self.tell(Exited(token=token, error="the system refuses to fork; see the server's log"))

    def adopt(self, pid: int, token: str, parent: str = "", failure: str = "") -> None:
        """This process is that replica; it is our child, or about to become it."""
        self._replicas[pid] = token
        stat = stat_of(pid)
        started = stat.started if stat else 0
        self.tell(Launched(token=token, pid=pid, started=started, parent=parent, failure=failure))
        if stat is None:  # it stood by, and was reaped before we heard what it had become
            del self._replicas[pid]
            self.tell(Exited(token=token, error="it was killed as it was about to start"))

    def fork(self, life: Callable[[], int]) -> int:
        """The pid of a child that lives `life` and exits with its result; 0 when the system refuses."""
        # A SIGTERM meant for the child must not meet our handler, which it still has at first; it unblocks it when it is ready.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
        try:
            pid = os.fork()
            if pid == 0:
                os._exit(_live(life))
            return pid
        except OSError as error:
            _log.error("cannot fork: %s", error.strerror)
            return 0
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))

    def _reap(self) -> None:
        ended = list(_ended_children())
        # A replica's parent has reported it before it could become our child, so that after this we know all of them.
        self._parents.attend_all()
        for pid, status in ended:
            if self._spare and pid == self._spare.pid:
                self._spare.close()
                self._spare = None
            self._parents.ended(pid, status)
            token = self._replicas.pop(pid, "")
            if token:
                self._parents.replica_ended(token)
                self.tell(Exited(token=token, status=status))
        self._sweep()

    def _sweep(self) -> None:
        """Kill what dead replicas left: it has become our child. Its own children become ours when it ends, and so on."""
        tokens: set[str] | None = None
        found = children()
        self._parents.attend_all()  # as above
        parents = self._parents.living()
        leaders = {*self._replicas, *(parent.pid for parent in parents.values())}
        for pid in found:
            if pid in leaders or (self._spare and pid == self._spare.pid):
                continue
            stat = stat_of(pid)
            if stat is None or stat.state in "ZX" or stat.session in leaders:
                continue
            tokens = tokens if tokens is not None else {*self._replicas.values(), *parents}
            if mark_of(pid) not in tokens:
                kill(pid)

    def tell(self, news: FromZygote) -> None:
        for client in list(self._clients.values()):
            self._send(client, news)
        if not self._clients and isinstance(news, Exited):  # nobody was there, or whoever was had just gone
            self._unreported.append(news)

    def _send(self, client: Peer, news: FromZygote) -> None:
        try:
            client.send(frame(news))
        except OSError:
            self._drop(client)
            return
        self._watch(client)


def _ended_children() -> Iterator[tuple[int, int]]:
    """Pid and wait status of each child that has ended."""
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            yield found


def _live(life: Callable[[], int]) -> int:
    """The child's whole life; whatever happens, it must not return into the zygote's loop."""
    try:
        return life()
    except BaseException as error:
        os.write(2, f"a replica could not be set up: {error!r}\n".encode("utf-8", "backslashreplace"))
        return 1


def _try_sandbox(run: Path) -> str:
    """What the sandbox gives on this machine, found out by a child that enters one."""
    read, write = os.pipe2(os.O_CLOEXEC)
    directory = run / f"trial-{os.getpid()}"
    for path in (directory, directory / "tmp", directory / "secrets"):
        path.mkdir(mode=0o700, exist_ok=True)
    pid = os.fork()
    if pid == 0:
        try:
            outcome = enter(Plan(directory=directory, hide=(), keep=(), read_only=False))
        except (OSError, PenstockError) as error:
            outcome = f"no isolation: {error}"
        os.write(write, outcome.encode("utf-8", "backslashreplace"))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        text = file.read().decode()
    os.waitpid(pid, 0)
    for path in (directory / "tmp", directory / "secrets", directory):
        _remove_tree(path)
    return text


def _remove_tree(path: Path) -> None:
    """An empty directory, or one that holds only the directories that the trial made in its private /tmp."""
    for found, _, _ in os.walk(path, topdown=False):
        os.rmdir(found)


def _forget_environment() -> None:
    """Blank the environment this process was started with, but for what it needs: replicas inherit this memory, and with it
    /proc/PID/environ, where a function could read the server's credentials."""
    kept = {name: os.environ[name] for name in os.environ if name in _KEPT_VARIABLES or name.startswith("LC_")}
    os.environ.clear()
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    ctypes.memset(start, 0, end - start)
    os.environ.update(kept)


def main() -> None:
    """Import what replicas need, then serve. The socket's path is the first argument, or follows from the server's settings."""
    import uvloop  # noqa: F401 - imported here so that replicas need not

    import penstock.watchdog.app as app
    from penstock.watchdog.importing import Application
    from penstock.watchdog.modes import preload

    preload()

    def serve(environ: Mapping[str, str], address: str, application: Application | None = None) -> int:
        return app.run(environ, address, application)

    logging.basicConfig(level=logging.INFO, format="zygote: %(message)s")
    environ = dict(os.environ)
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else restore_settings(environ[SETTINGS_VARIABLE]).paths.zygote_socket
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget_environment()
    # The rehearsed watchdog would take a SIGTERM for its own; blocked, it waits until the zygote can take it.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))
    rehearse(serve, path.parent, _REHEARSALS)
    Zygote(path, serve, serve, environ).run()


if __name__ == "__main__":
    main()
