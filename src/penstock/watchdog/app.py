"""The watchdog as a whole: one program behind HTTP, from start to drain.

`penstock watchdog` calls `run` with its environment; the zygote calls it in a forked replica with a unix socket to listen on.
Composes settings, server, limiter, health, metrics, log and one mode; how a request is answered is the mode's own business.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import functools
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

import penstock
from penstock.core.duration import format_duration
from penstock.errors import InvalidInput, SettingsError
from penstock.watchdog.accesslog import AccessLog
from penstock.watchdog.call import Call, effective_timeout
from penstock.watchdog.health import METHODS, NOT_ALLOWED, Health, Verdict
from penstock.watchdog.importing import Application, load_application, reload_application, watched_files
from penstock.watchdog.limiter import REJECTION_FIELDS, Limiter
from penstock.watchdog.logs import Log
from penstock.watchdog.metrics import CONTENT_TYPE, Metrics
from penstock.watchdog.modes import Context, load_mode
from penstock.watchdog.paths import settle
from penstock.watchdog.process import process_series
from penstock.watchdog.scoreboard import SharedLimiter
from penstock.watchdog.seat import Attendance, Listeners, Seat, keep_from_children, open_descriptors, say
from penstock.watchdog.settings import IMPORTING_MODES, WatchdogSettings, load_settings
from penstock.watchdog.signals import forward_to, listen_to_the_end, reap_orphans
from penstock.watchdog.spawn import Spawner, become_subreaper, program_environment
from penstock.watchdog.stall import StallWatch
from penstock.wire.exchange import Exchange
from penstock.wire.loop import import_event_loop, keep_buffers, new_event_loop
from penstock.wire.message import RequestHead
from penstock.wire.server import Server
from penstock.wiresettings import WireSettings

if TYPE_CHECKING:
    from penstock.watchdog.baton import Baton
    from penstock.watchdog.jwtauth import Guard

_UNIX = "unix:"
_SMALL_STACK = 1 << 20
"""Bytes of a thread's stack where the memory is limited, which counts the whole of it; by default it is 8 MiB."""
_FAILED = 1


class Watchdog:
    """The parts and what holds them together. Create inside a running loop; `start`, serve, `drain`.

    The modes that import the function have an `application`; in one of several workers there is a `seat` as well, from which
    come the sockets and the counters that workers share.
    """

    def __init__(
        self,
        settings: WatchdogSettings,
        environ: Mapping[str, str],
        application: Application | None = None,
        seat: Seat | None = None,
        baton: Baton | None = None,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.log = Log(
            loop,
            prefix=settings.prefix_logs,
            line_most=settings.log_buffer_size,
            call_ids=settings.log_callid,
        )
        self.spawner = Spawner(settings.fprocess, environ, settings.limits, loop)
        context = Context(settings, loop, self.spawner, self.log, application or Application(), self._leave, baton)
        self.mode = load_mode("broken" if context.application.failure else settings.mode)(context)
        self.health = Health(settings)
        self.limiter = Limiter(settings.max_inflight) if seat is None else SharedLimiter(settings.max_inflight, seat)
        self.metrics = Metrics() if seat is None else Metrics(seat.board, seat.slot)
        self.attendance: Attendance | None = None
        talks = settings.access_log or settings.write_debug or settings.debug_headers
        self._access = AccessLog(settings, self.log) if talks else None
        self._guard = load_guard(settings, self.log)
        self._guard_first = settings.mode == "classic"
        self.server = Server(self.serve, _wire_settings(settings))
        self.port = 0
        self._metrics_server: Server | None = None

    async def start(self, listen: str | Listeners | None) -> None:
        """Listen and begin. Raises SettingsError or OSError when that is impossible."""
        await self.mode.start()
        if self._guard is not None:
            self._guard.start()
        try:
            await self._listen(listen)
            self.health.accept()
        except (OSError, SettingsError):
            await self.server.close()
            await self.mode.stop()
            raise
        if isinstance(listen, Listeners):
            return  # the parent of the workers says it for all of them
        shown = self.settings.static_path if self.settings.mode == "static" else self.settings.fprocess
        where = listen or f"port {self.port}"
        self.log.line(f"penstock watchdog {penstock.__version__}: {self.settings.mode} {shown!r} on {where}")
        if listen is None:
            self._announce()
        for note in self.settings.notes:
            self.log.line(note)

    def _announce(self) -> None:
        """What the originals say at start, in their words: some people's tools wait for it (contract §1.9)."""
        settings = self.settings
        read, write = format_duration(settings.read_timeout), format_duration(settings.write_timeout)
        hard, health = format_duration(settings.exec_timeout), format_duration(settings.healthcheck_interval)
        self.log.line(f"Timeouts: read: {read} write: {write} hard: {hard} health: {health}.")
        self.log.line(f"Listening on port: {self.port}")
        if not settings.suppress_lock:
            self.log.line(f"Writing lock-file to: {settings.lock_file}")
        if self._metrics_server is not None:
            self.log.line(f"Metrics listening on port: {settings.metrics_port}")

    async def retire(self, hurry: asyncio.Event) -> None:
        """Be unhealthy and go on serving for `healthcheck_interval`, so that balancers notice before connections are refused."""
        self.health.refuse()
        interval = self.settings.healthcheck_interval
        self.log.line(f"SIGTERM: no new connections in {format_duration(interval)}")
        if interval:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await hurry.wait()

    async def drain(self) -> None:
        """Become unhealthy, finish what is in flight, end every program."""
        self.health.refuse()
        inflight = self.server.active
        most = format_duration(self.settings.drain_timeout)
        self.log.line(f"No new connections allowed, draining: {inflight} requests for at most {most}")
        if not await self.server.drain(self.settings.drain_timeout):
            self.log.line("the time to drain is over, requests were cut")
        self.log.line(f"Exiting. Active connections: {self.server.active}")
        await self.close()

    async def close(self) -> None:
        """End at once."""
        self.health.refuse()
        await self.server.close()
        if self._metrics_server is not None:
            await self._metrics_server.close()
        if self._guard is not None:
            await self._guard.stop()
        await self.mode.stop()
        await self.spawner.end_all()
        self.spawner.close()
        self.log.close()

    def serve(self, exchange: Exchange) -> None:
        """One request: ours, one too many, or the function's."""
        request = exchange.request
        path = request.path
        if b"//" in path or b"/." in path or path == b"*":
            settled = settle(exchange, request)
            if settled is None:
                return
            request, path = settled, settled.path
        if path.startswith(b"/_/") and self._internal(exchange, request):
            return
        call = Call(exchange, request, effective_timeout(request, self.settings.exec_timeout), self._counted)
        if self._guard is not None and self._guard_first:
            self._guard.check(call, self._admit)
        else:
            self._admit(call)

    def _admit(self, call: Call) -> None:
        """Give the call one of the slots. A token is asked for before that in classic and after it elsewhere (contract §2.2)."""
        if not self.limiter.acquire():
            call.respond(429, REJECTION_FIELDS, self.limiter.rejection())
            return
        call.on_end = self._ended
        if self._guard is not None and not self._guard_first:
            self._guard.check(call, self._handle)
        else:
            self._handle(call)

    def _handle(self, call: Call) -> None:
        if self._access is not None:
            self._access.began(call)
        try:
            self.mode.handle(call)
        except InvalidInput as error:
            call.refuse(400, str(error))

    def _ended(self, call: Call) -> None:
        self.limiter.release()
        self.metrics.observe(call.status, call.request.method, call.elapsed())
        if self._access is not None:
            self._access.ended(call)
        if self.attendance is not None:
            self.attendance.served()

    def _counted(self, call: Call) -> None:
        """As `_ended`, for a call that never had a slot."""
        self.metrics.observe(call.status, call.request.method, call.elapsed())
        if self._access is not None:
            self._access.ended(call)

    def _leave(self, reason: str) -> None:
        """For modes: this process must be replaced."""
        if self.attendance is not None:
            self.attendance.leave(reason)

    # Our own routes

    def _internal(self, exchange: Exchange, request: RequestHead) -> bool:
        """Answer a route of the watchdog's own; False when it is none of them."""
        path = request.path
        if path == b"/_/health":
            self._tell(exchange, self.health.health())
        elif path == b"/_/ready":
            self._ready(exchange, request)
        elif path == b"/_/metrics":
            self._tell(exchange, self._exposition())
        else:
            return False
        return True

    def _ready(self, exchange: Exchange, request: RequestHead) -> None:
        reason = self.mode.unready() or (self._guard.unready() if self._guard is not None else "")
        verdict = self.health.readiness(reason, self.limiter.full)
        if verdict[0] != 200 or not self.settings.ready_path or request.method not in METHODS:
            self._tell(exchange, verdict)
        elif request.has_body:
            exchange.respond(400, (), b"a readiness probe has no body\n")
        else:
            probe = copy.copy(request)
            probe.target = self.settings.ready_path.encode("utf-8", "surrogateescape")
            probe.note = probe.lasting = None
            # Not limited and not counted: a probe is no use of the function.
            self._handle(Call(exchange, probe, effective_timeout(probe, self.settings.exec_timeout), _forget))

    def _exposition(self) -> Verdict:
        return 200, ((b"Content-Type", CONTENT_TYPE),), self.metrics.render(self.limiter.inflight) + process_series()

    @staticmethod
    def _tell(exchange: Exchange, verdict: Verdict) -> None:
        status, fields, body = verdict if exchange.request.method in METHODS else NOT_ALLOWED
        exchange.respond(status, fields, body)

    def _serve_metrics(self, exchange: Exchange) -> None:
        if exchange.request.path == b"/metrics":
            self._tell(exchange, self._exposition())
        else:
            exchange.respond(404)

    # Listening

    async def _listen(self, listen: str | Listeners | None) -> None:
        if isinstance(listen, Listeners):
            for sock in listen.sockets:
                await self.server.listen_on(sock)
            if listen.metrics:
                self._metrics_server = Server(self._serve_metrics, _wire_settings(self.settings))
                for sock in listen.metrics:
                    await self._metrics_server.listen_on(sock)
            return
        if listen is not None and listen.startswith(_UNIX):
            await self.server.listen_unix(listen.removeprefix(_UNIX))
            return
        if listen is not None:
            raise SettingsError(f"cannot listen on {listen!r}: it must be unix:/path")
        self.port = await _listen_everywhere(self.server, self.settings.port)
        if self.settings.metrics_port:
            self._metrics_server = Server(self._serve_metrics, _wire_settings(self.settings))
            try:
                await _listen_everywhere(self._metrics_server, self.settings.metrics_port)
            except OSError as error:
                self.log.line(
                    f"no metrics on port {self.settings.metrics_port}: {error.strerror}; they are at /_/metrics"
                )


def run(
    environ: Mapping[str, str],
    listen: str | None = None,
    application: Application | None = None,
    *,
    program: str = "",
) -> int:
    """Serve until SIGTERM, SIGINT or the end of the lifeline, drain, and return the exit code.

    `listen` is `unix:/path`; None means TCP on all interfaces, at the port that the environment names. Makes its own event
    loop: uvloop's where it can be imported, unless PENSTOCK_LOOP is `asyncio`. `application` is for a process that has imported
    the function already, in this environment; otherwise the modes that need it import it here. `program` is the name by which
    the watchdog was called (`settings.ORIGINALS`).
    """
    _prepare_descriptors()
    keep_buffers()
    try:
        settings = load_settings(environ, program)
        if settings.mode in IMPORTING_MODES:
            return _run_workers(settings, dict(environ), listen, application)
        with asyncio.Runner(loop_factory=functools.partial(new_event_loop, environ)) as runner:
            return runner.run(_serve(settings, environ, listen))
    except (SettingsError, OSError) as error:
        _complain(f"penstock watchdog cannot start: {error}")
        return _FAILED


def _run_workers(
    settings: WatchdogSettings, environ: Mapping[str, str], listen: str | None, application: Application | None
) -> int:
    """`run` for an imported function: import it, bind, and be the parent of the processes that serve it."""
    from penstock.watchdog import workers

    inherited = open_descriptors()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number in (signal.SIGTERM, signal.SIGINT):
        # The import may take long, and to process 1 of a container the default is to ignore them.
        signal.signal(number, _end_at_once if os.getpid() == 1 else signal.SIG_DFL)
    os.environb.clear()
    os.environb.update(program_environment(environ))
    lifeline = _lifeline(environ)
    if application is None and not settings.python_reload:
        application = load_application(settings)
    loaded = application or Application()
    for note in (*settings.notes, *loaded.failure.splitlines()):
        say(note)

    def life(seat: Seat) -> int:
        ours = loaded
        if settings.limits.memory:
            threading.stack_size(_SMALL_STACK)
        sys.dont_write_bytecode |= settings.python_reload  # it is trusted by seconds, and edits may follow faster
        if seat.imports:
            ours = reload_application(settings, loaded)
            for line in ours.failure.splitlines():
                say(line)
        own = dataclasses.replace(settings, suppress_lock=True)
        loop_factory = functools.partial(new_event_loop, environ)
        if baton := load_baton(own, ours):
            return baton.run(loop_factory, lambda: _serve_seat(own, environ, seat, ours, baton))
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(_serve_seat(own, environ, seat, ours))

    # Imported before the fork, what workers need is in memory once.
    load_mode("broken" if loaded.failure else settings.mode)
    load_baton(settings, loaded)
    import_event_loop(environ)
    parent = workers.Parent(settings, workers.bind(settings, listen), life, inherited)
    if loaded.threads:
        names = ", ".join(loaded.threads)
        parent.import_in_workers(f"the import has started threads ({names}): each worker imports the function itself")
    return parent.run(lifeline)


async def _serve_seat(
    settings: WatchdogSettings,
    environ: Mapping[str, str],
    seat: Seat,
    application: Application,
    baton: Baton | None = None,
) -> int:
    """One worker, until its parent, its own end or SIGTERM has it drain."""
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()
    attendance = Attendance(seat, loop, stop, hurry)
    if baton is None:
        loop.add_signal_handler(signal.SIGTERM, attendance.leave, "SIGTERM")
    else:
        baton.terminated = lambda: attendance.leave("SIGTERM")
    watchdog = Watchdog(settings, environ, application, seat, baton)
    watchdog.attendance = attendance
    attendance.retire = watchdog.health.refuse
    attendance.begin()
    keep_from_children(seat)
    watch = StallWatch(seat.slot, watchdog.server, settings.exec_timeout)
    try:
        await watchdog.start(seat.listeners)
        if settings.exec_timeout:
            watch.start()
        attendance.ready(watched_files(application) if settings.python_reload else [])
        await stop.wait()
        await _drain_unless_hurried(watchdog, hurry)
    except BaseException:
        await watchdog.close()
        raise
    finally:
        watch.stop()
        attendance.end()
    return 0


async def _serve(settings: WatchdogSettings, environ: Mapping[str, str], listen: str | None) -> int:
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def asked() -> None:
        if stop.is_set():
            hurry.set()
        stop.set()

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an ignored one would reap programs behind our back
    listen_to_the_end(loop, asked)
    lifeline = _watch_lifeline(loop, environ, stop)
    become_subreaper()
    watchdog = Watchdog(settings, environ)
    forward_to(loop, watchdog.mode, asked)
    reap_orphans(loop, settings.mode, watchdog.spawner)
    try:
        await watchdog.start(listen)
        await stop.wait()
        await watchdog.retire(hurry)
        await _drain_unless_hurried(watchdog, hurry)
    except BaseException:
        await watchdog.close()
        raise
    finally:
        if lifeline >= 0:
            loop.remove_reader(lifeline)
    return 0


async def _drain_unless_hurried(watchdog: Watchdog, hurry: asyncio.Event) -> None:
    """Drain; a second signal ends it at once."""
    draining, hurried = asyncio.ensure_future(watchdog.drain()), asyncio.ensure_future(hurry.wait())
    await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if draining.done():
        draining.result()
        return
    draining.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await draining
    await watchdog.close()


def _watch_lifeline(loop: asyncio.AbstractEventLoop, environ: Mapping[str, str], stop: asyncio.Event) -> int:
    """Stop when the supervisor is gone. Returns the descriptor watched, -1 when there is none."""
    lifeline = _lifeline(environ)
    if lifeline < 0:
        return -1

    def ended() -> None:
        loop.remove_reader(lifeline)
        stop.set()

    loop.add_reader(lifeline, ended)
    return lifeline


def _lifeline(environ: Mapping[str, str]) -> int:
    """The descriptor that ends with the supervisor, -1 when there is none. Raises SettingsError."""
    text = environ.get("PENSTOCK_LIFELINE_FD", "")
    if text and not (text.isascii() and text.isdigit()):
        raise SettingsError(f"PENSTOCK_LIFELINE_FD: {text!r} is not a descriptor")
    return int(text) if text else -1


async def _listen_everywhere(server: Server, port: int) -> int:
    """All interfaces, IPv6 included where the machine has it. A port of the system's choice is IPv4's alone: there is one number."""
    if port and socket.has_ipv6:
        try:
            return await server.listen_tcp("", port)
        except OSError as error:
            if not isinstance(error, PermissionError) and "in use" not in str(error):
                return await server.listen_tcp("0.0.0.0", port)  # noqa: S104 - a container's only way to be reached
            raise
    return await server.listen_tcp("0.0.0.0", port)  # noqa: S104 - as above


def load_baton(settings: WatchdogSettings, application: Application) -> Baton | None:
    """What runs the loop of a worker whose handler is called in threads."""
    if settings.mode != "python" or application.failure:
        return None
    from penstock.watchdog.baton import Baton
    from penstock.watchdog.modes.python import is_asynchronous

    return None if is_asynchronous(application.target) else Baton()


def load_guard(settings: WatchdogSettings, log: Log) -> Guard | None:
    """What asks for tokens, with `jwt_auth`; its libraries are imported only then. Raises SettingsError."""
    if not settings.jwt_auth:
        return None
    from penstock.watchdog.jwtauth import Guard

    return Guard(settings, log)


def _wire_settings(settings: WatchdogSettings) -> WireSettings:
    return WireSettings(
        head_timeout=settings.read_timeout,
        body_timeout=settings.read_timeout,
        drain_timeout=settings.drain_timeout,
    )


def _prepare_descriptors() -> None:
    """Keep 0, 1 and 2 open, lest a pipe gets such a number, and keep whatever else was inherited from programs."""
    while (fd := os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)) < 3:
        os.set_inheritable(fd, True)
    os.close(fd)
    with contextlib.suppress(FileNotFoundError):  # without /proc nobody can tell what was inherited
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
                    os.set_inheritable(int(name), False)


def _end_at_once(number: int, frame: object) -> None:
    """There is nothing to drain yet."""
    os._exit(128 + number)


def _complain(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")


def _forget(call: Call) -> None:
    """For calls that are not counted."""
