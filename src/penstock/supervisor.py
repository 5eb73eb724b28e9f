"""`penstock serve`: starts the processes that make up a gateway, restarts those that die, and ends them in order.

Synchronous on purpose: it sleeps in one system call until a child or a signal wakes it, imports little and holds no socket
but the one that reserves the public port. Called by the command line; what the processes do is theirs.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import hashlib
import logging
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from penstock.errors import PenstockError, SettingsError
from penstock.settings import REASON_VARIABLE, SECRETS_VARIABLE, SETTINGS_VARIABLE, ServeSettings, dump_settings
from penstock.storage.handover import PIPE_VARIABLE, keys_pipe, withhold
from penstock.telemetry import configure_logging

FIRST_PAUSE, LAST_PAUSE = 0.1, 5.0
"""Seconds before a process that died is started again, doubling while it keeps dying young."""

GROWN_UP = 10.0
"""Seconds of life after which a death counts as the first again."""

START_DEATHS = 3
"""Deaths of control before the gateway was ever ready, after which starting is given up: it will not heal by itself."""

READY_TIMEOUT = 60.0
"""Seconds for the public port to answer /healthz after the start."""

STOP_TIMEOUT = 30.0
"""Seconds beyond the drain time for a process to end before it is killed."""

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_STOP = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_SIGNALS = {signal.SIGCHLD, *_STOP}
_ENDED_WELL = (0, -signal.SIGTERM)
"""Exit codes of a stopped child that cut nothing: all handle SIGTERM, so one that it ended had not yet begun its work."""

_log = logging.getLogger(__name__)


@dataclass
class Child:
    """One process of the gateway."""

    role: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = FIRST_PAUSE
    restart_at: float = 0.0
    deaths: int = 0
    code: int = 0
    """What it ended with last."""
    inherits: tuple[int, ...] = ()
    """File descriptors for it alone."""
    uses_storage: bool = False
    """Whether it is given the keys of the object store."""

    @property
    def running(self) -> bool:
        return self.process is not None


class StartFailed(PenstockError):
    """The gateway did not become ready."""


class Supervisor:
    """Keeps the children of one `penstock serve` alive."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._stopping = False
        lifeline, self._lifeline_end = os.pipe()
        os.set_inheritable(lifeline, True)
        self._lifeline = lifeline
        self._reasons, told = os.pipe()
        for end in (self._reasons, told):
            os.set_blocking(end, False)
        self._reason = ""
        self._keys = withhold(os.environ)
        self._environ = {
            **os.environ,
            SETTINGS_VARIABLE: dump_settings(settings),
            "PENSTOCK_RUN_ID": secrets.token_hex(8),
            "PENSTOCK_LIFELINE_FD": str(lifeline),
            REASON_VARIABLE: str(told),
        }
        python = [sys.executable, "-m"]
        self._workers = [
            Child(f"worker-{index}", [*python, "penstock.gateway.worker", str(index)], uses_storage=True)
            for index in range(settings.workers)
        ]
        self._control = Child("control", [*python, "penstock.control.process"], inherits=(told,), uses_storage=True)
        self._zygote = [Child("zygote", [*python, "penstock.providers.runtimes.zygote"])]
        if settings.provider != "process":
            self._zygote = []

    @property
    def children(self) -> list[Child]:
        return [*self._zygote, self._control, *self._workers]

    def run(self, on_ready: Callable[[], None]) -> int:
        """Start, call `on_ready` once the public port answers, watch until told to stop; the exit code."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for child in self.children:
                self._start(child)
            if self._wait_until_ready():
                on_ready()
                self._watch()
        finally:
            complete = self._stop()
        return 0 if complete else 1

    # Life

    def _start(self, child: Child) -> None:
        child.started = time.monotonic()
        with self._keys_for(child) as (environ, descriptors):
            child.process = subprocess.Popen(
                child.command,
                env={**self._environ, **environ},
                stdin=subprocess.DEVNULL,
                pass_fds=(self._lifeline, *child.inherits, *descriptors),
                process_group=0,  # a Ctrl-C in the terminal is for the supervisor alone
                preexec_fn=_in_child,
            )
        _log.debug("started %s as process %d", child.role, child.process.pid)

    @contextlib.contextmanager
    def _keys_for(self, child: Child) -> Iterator[tuple[dict[str, str], tuple[int, ...]]]:
        """What to give it besides, so that it can read the keys of the object store: variables and descriptors."""
        if not self._keys or not child.uses_storage:
            yield {}, ()
            return
        reader = keys_pipe(self._keys)
        try:
            yield {PIPE_VARIABLE: str(reader)}, (reader,)
        finally:
            os.close(reader)

    def _watch(self) -> None:
        """Sleep until something happens, until a signal says stop."""
        while not self._stopping:
            self._handle(self._next_signal())

    def _next_signal(self) -> int:
        """The next signal, or 0 when it is time to restart a child."""
        due = [child.restart_at for child in self.children if not child.running]
        wait = max(0.0, min(due) - time.monotonic()) if due else 3600.0
        got = signal.sigtimedwait(_SIGNALS, wait)
        return got.si_signo if got else 0

    def _handle(self, number: int) -> None:
        if number in _STOP:
            self._stopping = True
            return
        for child in self.children:
            if child.running:
                self._reap(child)
            elif time.monotonic() >= child.restart_at:
                self._start(child)
        self._bury_orphans()

    def _reap(self, child: Child) -> None:
        if child.process is None or child.process.poll() is None:
            return
        code = child.code = child.process.returncode
        child.process = None
        child.deaths += 1
        if child is self._control:
            self._reason = self._read_reason()
        now = time.monotonic()
        if now - child.started > GROWN_UP:
            child.pause = FIRST_PAUSE
        child.restart_at = now + child.pause
        _log.error("%s ended (%s), starting it again in %.1f s", child.role, _describe(code), child.pause)
        child.pause = min(child.pause * 2, LAST_PAUSE)

    def _bury_orphans(self) -> None:
        """Wait for processes that are not ours: as process 1 of a container we are given all whose parents have ended, and they
        stay in the table of processes until then."""
        own = {child.process.pid for child in self.children if child.process is not None}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and ended.si_pid not in own:
                os.waitpid(ended.si_pid, 0)

    def _wait_until_ready(self) -> bool:
        """True once /healthz answers 200; False when told to stop before. Raises StartFailed."""
        deadline = time.monotonic() + READY_TIMEOUT
        while not self._stopping:
            if _healthy(self._settings.host, self._settings.port):
                return True
            if time.monotonic() > deadline:
                raise StartFailed(f"the gateway did not become ready within {READY_TIMEOUT:g} s; see the log above")
            got = signal.sigtimedwait(_SIGNALS, 0.02)
            self._handle(got.si_signo if got else 0)
            self._check_control()
        return False

    def _check_control(self) -> None:
        """Raises what control said when trying again is of no use, or was of none."""
        if self._control.deaths and self._control.code == SettingsError.exit_code and self._reason:
            raise SettingsError(self._reason)
        if self._control.deaths >= START_DEATHS:
            raise StartFailed(
                self._reason or "the control process keeps ending at its start; see the log above for the reason"
            )

    def _read_reason(self) -> str:
        """Why control ended, in its own words; empty when it had no time for any."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._reasons, select.PIPE_BUF).decode(errors="replace")
        return ""

    # Death

    def _stop(self) -> bool:
        """Workers finish what is in flight, then control stops the functions, then the zygote ends."""
        wire = self._settings.wire
        timeout = wire.drain_delay + wire.drain_timeout + STOP_TIMEOUT
        complete = True
        for group in (self._workers, [self._control], self._zygote):
            for child in group:
                if child.process is not None and child.process.poll() is not None:
                    child.process = None  # it died before; that is no fault of this stop
                elif child.process is not None:
                    child.process.send_signal(signal.SIGTERM)
            complete = self._wait_for(group, timeout) and complete
        os.close(self._lifeline_end)
        return complete

    def _wait_for(self, group: list[Child], timeout: float) -> bool:
        """Wait for processes to end; a signal to stop at once, or lateness, kills them. True when all ended well."""
        deadline = time.monotonic() + timeout
        complete = True
        while any(child.running for child in group):
            got = signal.sigtimedwait(_SIGNALS, min(0.5, max(0.0, deadline - time.monotonic())))
            at_once = got is not None and got.si_signo in _STOP
            if at_once or time.monotonic() > deadline:
                complete = False
                for child in self.children:
                    if child.process is not None:
                        child.process.kill()
            for child in group:
                if child.process is not None and child.process.poll() is not None:
                    complete = complete and child.process.returncode in _ENDED_WELL
                    child.process = None
        return complete


def run(settings: ServeSettings) -> int:
    """Serve until a signal; the exit code. Raises SettingsError when an address cannot be bound, StartFailed."""
    configure_logging(settings.log_level, "supervisor")
    for directory in (settings.home, settings.paths.run):
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _reserve(settings.host, settings.port) as public:
        settings = dataclasses.replace(settings, port=public.getsockname()[1])
        with _claim_port(settings), _claim_home(settings):
            return Supervisor(settings).run(lambda: _announce(settings))


def _reserve(host: str, port: int) -> socket.socket:
    """Hold the public port, which workers share by SO_REUSEPORT, so that port 0 is chosen once and a taken port is an
    error here. Without `listen` this socket gets no connections."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probe = socket.socket(family, socket.SOCK_STREAM)
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            port = probe.getsockname()[1]
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port") from error
    return reserved


def _claim_port(settings: ServeSettings) -> socket.socket:
    """One gateway per port: SO_REUSEPORT would let a second one share it as long as nobody listens yet."""
    port = settings.port
    return _claim(f"port {port}", f"another penstock serves on port {port}; choose another with --port")


def _claim_home(settings: ServeSettings) -> socket.socket:
    """One gateway per home."""
    home = settings.home
    return _claim(f"home {home.resolve()}", f"another penstock serves from {home}; stop it, or choose another --home")


def _claim(what: str, fault: str) -> socket.socket:
    """Hold something that only one gateway may have, as an abstract unix socket that the kernel frees with the process,
    whatever kills it. Raises SettingsError(fault) when another has it."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        name = hashlib.sha256(os.fsencode(what)).hexdigest()  # as long as an address may be
        claim.bind(f"\0penstock:{name}".encode())
    except OSError as error:
        claim.close()
        raise SettingsError(fault) from error
    return claim


def _healthy(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1.0) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: penstock\r\nConnection: close\r\n\r\n")
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _announce(settings: ServeSettings) -> None:
    """Tell whoever started us what to type next."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - not bound here
    url = f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"
    lines = [f"Penstock is ready at {url}"]
    if settings.no_auth:
        lines.append("  admin     no password needed (--no-auth)")
    else:
        mounted = os.environ.get(SECRETS_VARIABLE, "")
        user = "in basic-auth-user" if mounted else "admin"
        where = f"basic-auth-password of {mounted}" if mounted else settings.paths.password_file
        lines.append(f"  admin     user {user}, password in {where}")
    if settings.examples and not settings.runs_images:
        lines += [
            "  try       " + f"curl -d 'the quick brown fox' {url}/function/wc",
            "            " + f"curl '{url}/function/http-app/slug?text=Hello%20World'",
            "            " + f"curl -N '{url}/function/sse-clock?interval=0.5&count=3'",
        ]
    else:
        what = "--image debian:12 --fprocess wc" if settings.runs_images else "--fprocess wc"
        lines.append(f"  try       penstock deploy --name wc {what} -g {url}")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _in_child() -> None:
    """Between fork and exec: unblock signals, and end with the supervisor whatever ends it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _describe(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):  # most real-time signals have no name
        return f"signal {signal.Signals(-code).name}"
    return f"signal {-code}"
