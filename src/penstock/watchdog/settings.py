"""Settings of the watchdog: one frozen dataclass read from an injected environment by the rules of contract watchdog §1.1, §2.1.

Called by `watchdog.app`. Understands the variable names of both original watchdogs. A value that the contract wants
replaced by its default is replaced and mentioned in `notes`; what cannot be meant is a SettingsError that names every fault.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from penstock.core.duration import parse_duration
from penstock.errors import InvalidInput, SettingsError

MODES = (
    "classic",
    "serializing",
    "streaming",
    "prefork",
    "afterburn",
    "http",
    "python",
    "asgi",
    "wsgi",
    "static",
)
"""Names that `mode` may have; `watchdog.modes` maps them to their modules."""

IMPORTING_MODES = ("python", "asgi", "wsgi")
"""Modes that import the function into the watchdog instead of starting a program."""

ORIGINALS = ("fwatchdog", "of-watchdog")
"""Names of the programs that this one can replace. Called by one of them it keeps, where nothing else is said, to habits of
theirs that it would not have by itself: see `WatchdogSettings.streaming_errors` and `access_log`."""

AUTO = 0
"""`pool_size`: as many as the load asks for."""

PRIVATE_VARIABLES = frozenset(
    {
        "PENSTOCK_LIFELINE_FD",
        "PENSTOCK_RUN_ID",
        "PENSTOCK_LOOP",
        "PENSTOCK_WATCHDOG_METRICS_PORT",
        "PENSTOCK_RLIMIT_MEMORY",
        "PENSTOCK_RLIMIT_CPU",
        "PENSTOCK_RLIMIT_NOFILE",
        "PENSTOCK_RLIMIT_NPROC",
    }
)
"""The watchdog's own variables, which programs do not get to see."""

_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})
_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProgramLimits:
    """Resource limits of every program (setrlimit(2)); 0 leaves a resource unlimited."""

    memory: int = 0
    """Bytes of writable private memory (RLIMIT_DATA)."""
    cpu: int = 0
    """Seconds of processor time."""
    files: int = 0
    """Open file descriptors."""
    processes: int = 0
    """Processes of the user, as the kernel counts them: all of the user's, not this program's alone."""


@dataclass(frozen=True, slots=True)
class WatchdogSettings:
    """Everything the watchdog is told. Times in seconds, sizes in bytes; 0 switches a limit off."""

    mode: str = "classic"
    """How a request meets the program: one of MODES."""
    fprocess: str = ""
    """The program and its arguments, separated by single spaces; no shell, no quoting."""
    upstream_url: str = ""
    """http mode: where the program listens. Empty: a free loopback port, told to the program in PORT."""
    port: int = 8080
    """TCP port; 0 picks a free one."""
    metrics_port: int = 8081
    """Port of a second listener for /metrics; 0 switches it off."""
    read_timeout: float = 30.0
    """From a request's first byte to the end of its head, and the longest pause inside its body."""
    write_timeout: float = 30.0
    """Time that requests in flight get to finish on SIGTERM."""
    exec_timeout: float = 0.0
    """Longest run of a program for one request; then its process group is killed. Default 0 in classic, 30 in all others."""
    cgi_headers: bool = True
    """Give the program the request's fields as Http_* variables."""
    combine_output: bool = True
    """classic: stderr is part of the answer instead of the log."""
    write_debug: bool = False
    """Log path, query and duration of every request and copy the output to stdout."""
    marshal_request: bool = False
    """classic: stdin is a JSON object of header and body (contract §1.5)."""
    debug_headers: bool = False
    """Log the fields of requests and answers."""
    healthcheck_interval: float = 0.0
    """Time between SIGTERM and the drain, in which health is 503 and requests are still served, so that balancers notice.
    0 under `penstock serve`, which takes a replica out of its routes before it asks it to end."""
    access_log: bool = False
    """A log line for every request (contract §1.9, §2.2). Default: only under the name of an original."""
    streaming_errors: bool = True
    """streaming: a failure is an error status, or a cut answer. Otherwise it is a complete answer with 200, whatever happens,
    as the original has it; default under its name."""
    content_type: str = ""
    """Content-Type of successful answers."""
    max_inflight: int = 0
    """Requests at once; more are answered 429."""
    static_path: str = "/home/app/public"
    """static: the root of the files."""
    pool_size: int = AUTO
    """prefork, afterburn: processes kept; 0 (`auto`) as many as the load asks for, between the two below."""
    pool_min: int = 1
    """prefork, afterburn: fewest processes of an automatic pool."""
    pool_max: int = 0
    """prefork, afterburn: most processes of an automatic pool; 0 lets the mode choose."""
    max_requests: int = 0
    """afterburn, python, asgi, wsgi: a process is replaced after this many requests, give or take the jitter."""
    max_requests_jitter: int = 0
    """Requests by which `max_requests` is varied, so that not all processes are replaced at once. Default a tenth of it."""
    handler: str = ""
    """python, asgi, wsgi: `module`, `module:attribute`, or the path of a file or folder, imported into the watchdog."""
    python_path: tuple[str, ...] = ()
    """python, asgi, wsgi: directories searched for modules before all others."""
    python_workers: int = 1
    """python, asgi, wsgi: processes that answer, forked after the import."""
    python_threads: int = 16
    """python, wsgi: calls of handlers that are not asynchronous, at once in each process."""
    python_reload: bool = False
    """python, asgi, wsgi: import anew when a source file changes. For development."""
    jwt_auth: bool = False
    """Answer only requests with a token that permits this function (contract §2.9)."""
    jwt_auth_local: bool = False
    """Look for the token's issuer on this machine instead of in the cluster."""
    jwt_auth_debug: bool = False
    """Log why a token was refused."""
    jwt_authority: str = ""
    """Base URL below which the issuer's discovery document is; empty is the place that the two above imply."""
    openfaas_name: str = ""
    """Name of the function, as tokens speak of it."""
    openfaas_namespace: str = ""
    """Namespace of the function; empty where Kubernetes tells it in a file."""
    suppress_lock: bool = False
    """Write no lock file."""
    buffer_http: bool = False
    """http: gather a request's body first, so that it goes on with a Content-Length."""
    prefix_logs: bool = True
    """Begin a program's log lines with time and stream."""
    log_buffer_size: int = 65536
    """A longer log line is split here; negative means 16 MiB."""
    log_callid: bool = False
    """Put the call id into log lines of requests."""
    ready_path: str = ""
    """/_/ready asks the function under this path."""
    tmpdir: str = "/tmp"
    """Where the lock file and large outputs go."""
    limits: ProgramLimits = ProgramLimits()
    """Resource limits of programs."""
    notes: tuple[str, ...] = ()
    """What was read differently from how it was written; logged at start."""

    @property
    def lock_file(self) -> str:
        return self.tmpdir.rstrip("/") + "/.lock"

    @property
    def drain_timeout(self) -> float:
        """Time that requests in flight get on SIGTERM: as long as one may run, so that none is cut needlessly."""
        return max(self.write_timeout, self.exec_timeout, 1.0)


def load_settings(environ: Mapping[str, str], program: str = "") -> WatchdogSettings:
    """Settings from the environment. Raises SettingsError that names every fault.

    `program` is the name by which this program was called, which decides some defaults: see ORIGINALS.
    """
    reader = _Reader(environ)
    mode = reader.mode("streaming" if program == "of-watchdog" else "classic")
    unlimited = mode == "classic"
    port, metrics_port = reader.port("port", 8080), reader.port("PENSTOCK_WATCHDOG_METRICS_PORT", 8081)
    max_requests = reader.count("max_requests", 0)
    served = bool(environ.get("PENSTOCK_LIFELINE_FD"))
    settings = WatchdogSettings(
        mode=mode,
        fprocess=environ.get("function_process") or environ.get("fprocess") or "",
        upstream_url=environ.get("http_upstream_url") or environ.get("upstream_url") or "",
        port=port,
        metrics_port=metrics_port,
        read_timeout=reader.seconds("read_timeout", 30.0),
        write_timeout=reader.seconds("write_timeout", 30.0),
        exec_timeout=reader.seconds("exec_timeout", 0.0 if unlimited else 30.0),
        cgi_headers=reader.unless_false("cgi_headers"),
        combine_output=reader.unless_false("combine_output"),
        write_debug=environ.get("write_debug") == "true",
        marshal_request=environ.get("marshal_request") == "true",
        debug_headers=environ.get("debug_headers") == "true",
        healthcheck_interval=0.0 if served else reader.seconds("healthcheck_interval", 0.0),
        access_log=reader.boolean("access_log", program in ORIGINALS),
        streaming_errors=reader.boolean("streaming_errors", program not in ORIGINALS),
        content_type=reader.field_value("content_type"),
        max_inflight=max(reader.whole("max_inflight", 0), 0),
        static_path=environ.get("static_path", "/home/app/public"),
        pool_size=AUTO if environ.get("pool_size") == "auto" else reader.count("pool_size", AUTO),
        pool_min=reader.count("pool_min", 1),
        pool_max=reader.count("pool_max", 0),
        max_requests=max_requests,
        max_requests_jitter=reader.count("max_requests_jitter", max_requests // 10),
        handler=environ.get("handler", ""),
        python_path=tuple(path for path in environ.get("python_path", "").split(":") if path),
        python_workers=reader.count("python_workers", 1, least=1),
        python_threads=reader.count("python_threads", 16, least=1),
        python_reload=reader.switch("python_reload"),
        jwt_auth=reader.switch("jwt_auth"),
        jwt_auth_local=reader.switch("jwt_auth_local"),
        jwt_auth_debug=reader.switch("jwt_auth_debug"),
        jwt_authority=environ.get("jwt_authority", ""),
        openfaas_name=environ.get("OPENFAAS_NAME", ""),
        openfaas_namespace=environ.get("OPENFAAS_NAMESPACE", ""),
        suppress_lock=reader.switch("suppress_lock"),
        buffer_http=reader.switch("buffer_http") or reader.switch("http_buffer_req_body"),
        prefix_logs=reader.boolean("prefix_logs", True),
        log_buffer_size=reader.strict_whole("log_buffer_size", 65536),
        log_callid=reader.boolean("log_callid", False),
        ready_path=environ.get("ready_path", ""),
        tmpdir=environ.get("TMPDIR") or "/tmp",
        limits=ProgramLimits(
            memory=reader.limit("PENSTOCK_RLIMIT_MEMORY"),
            cpu=reader.limit("PENSTOCK_RLIMIT_CPU"),
            files=reader.limit("PENSTOCK_RLIMIT_NOFILE"),
            processes=reader.limit("PENSTOCK_RLIMIT_NPROC"),
        ),
        notes=tuple(reader.notes),
    )
    faults = [*reader.faults, *_contradictions(settings, environ)]
    if faults:
        raise SettingsError("watchdog settings cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults))
    return settings


def _contradictions(settings: WatchdogSettings, environ: Mapping[str, str]) -> list[str]:
    faults = []
    if settings.mode not in (*IMPORTING_MODES, "static") and not settings.fprocess:
        faults.append("fprocess: is required, it names the program to run (or function_process)")
    if settings.mode == "static" and not settings.static_path:
        faults.append("static_path: must not be empty")
    if settings.ready_path and not settings.ready_path.startswith("/"):
        faults.append(f"ready_path: {settings.ready_path!r} must begin with /")
    if settings.jwt_auth and not settings.openfaas_name:
        faults.append("OPENFAAS_NAME: is required with jwt_auth, whose tokens permit functions by name")
    if settings.mode == "prefork" and settings.cgi_headers:
        faults.append(
            "cgi_headers: must be false in mode prefork, whose programs are started before there is a request to tell them of"
        )
    if settings.pool_max and settings.pool_min > settings.pool_max:
        faults.append(f"pool_min: {settings.pool_min} is more than pool_max, {settings.pool_max}")
    if settings.mode in ("asgi", "wsgi") and not settings.handler:
        faults.append(f"handler: is required in mode {settings.mode}, it names the application, such as main:app")
    return faults


class _Reader:
    """Reads variables by the contract's grammars and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []
        self.notes: list[str] = []

    def mode(self, default: str) -> str:
        mode = self.environ.get("mode") or default
        if mode not in MODES:
            self.faults.append(f"mode: {mode!r} is unknown, use one of {', '.join(MODES)}")
        return mode

    def seconds(self, name: str, default: float) -> float:
        """A duration; unreadable means the default, negative means off."""
        text = self.environ.get(name, "")
        if not text:
            return default
        try:
            if not _WHOLE.fullmatch(text):
                return max(parse_duration(text), 0.0)
            if text.startswith("-") and text.lstrip("-0"):
                raise InvalidInput("a negative number of seconds")
            return parse_duration(text.lstrip("+-"))
        except InvalidInput as error:
            self._note(name, text, f"{error}; {default:g}s is used")
            return default

    def whole(self, name: str, default: int) -> int:
        text = self.environ.get(name, "")
        if not text:
            return default
        if not _WHOLE.fullmatch(text):
            self._note(name, text, f"it is not a whole number; {default} is used")
            return default
        return int(text)

    def port(self, name: str, default: int) -> int:
        number = self.whole(name, default)
        if 0 <= number <= 65535:
            return number
        self._note(name, str(number), f"it is not a port; {default} is used")
        return default

    def strict_whole(self, name: str, default: int) -> int:
        text = self.environ.get(name, "")
        if text and not _WHOLE.fullmatch(text):
            self.faults.append(f"{name}: {text!r} is not a whole number")
            return default
        return int(text) if text else default

    def count(self, name: str, default: int, least: int = 0) -> int:
        """A number of things; anything else is a fault."""
        number = self.strict_whole(name, default)
        if number < least:
            self.faults.append(f"{name}: {number} must be {least} or more")
            return default
        return number

    def limit(self, name: str) -> int:
        number = self.strict_whole(name, 0)
        if number < 0:
            self.faults.append(f"{name}: {number} must not be negative")
        return max(number, 0)

    def unless_false(self, name: str) -> bool:
        return self.environ.get(name, "") in ("", "true")

    def switch(self, name: str) -> bool:
        return self.environ.get(name, "") in ("true", "1")

    def boolean(self, name: str, default: bool) -> bool:
        """Go's spellings of a truth value."""
        text = self.environ.get(name, "")
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        if text:
            self._note(name, text, f"it is neither true nor false; {str(default).lower()} is used")
        return default

    def field_value(self, name: str) -> str:
        text = self.environ.get(name, "").strip()
        if any(character < " " or character == "\x7f" for character in text):
            self.faults.append(f"{name}: {text!r} cannot be a header value")
            return ""
        return text

    def _note(self, name: str, text: str, why: str) -> None:
        self.notes.append(f"{name}={text!r} is ignored: {why}")
