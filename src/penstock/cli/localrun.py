"""One function in the foreground, without a gateway: under our watchdog on this machine, or in a container of its image.

Called by the verb `local-run`. Makes the command, runs it, and with sources that are watched starts it anew after each change.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.builders.model import Built
from penstock.cli.options import note
from penstock.cli.watching import Sources, watched
from penstock.core.quantity import parse_bytes
from penstock.endsignals import unwinding
from penstock.errors import InvalidInput, PenstockError
from penstock.model import FunctionSpec
from penstock.providers.runtimes import processes
from penstock.stack.model import Stack, StackFunction
from penstock.stack.payload import Base, Overrides, is_runnable, specification

SECRETS = ".secrets"
"""Folder, below the current one, with a file for each secret."""
_SECRETS_IN_CONTAINERS = "/var/openfaas/secrets"
_INHERITED = ("PATH", "LANG", "LANGUAGE", "TZ", "HOME", "TMPDIR")
"""Variables of ours that a program of this machine gets, besides LC_*."""
_SMALLEST = 6 << 20
"""Bytes; an engine refuses to reserve less."""
_TICK = 0.2
"""Seconds between two looks at whether it still runs."""
_GRACE = 10.0
"""Seconds that a function gets to end before its next version is started."""


@dataclass(frozen=True)
class Command:
    """What is run, and the variables that it gets."""

    arguments: list[str]
    environ: dict[str, str]
    whole: bool
    """Whether `environ` is the whole environment, or is added to ours."""

    def shown(self) -> str:
        """As a line for a shell."""
        pairs = [f"{name}={value}" for name, value in sorted(self.environ.items())]
        return shlex.join([*(["env", "-i"] if self.whole else ["env"] if pairs else []), *pairs, *self.arguments])

    def full_environ(self) -> dict[str, str]:
        return self.environ if self.whole else {**os.environ, **self.environ}


def command_for(function: StackFunction, built: Built | None, environ: Mapping[str, str], port: int) -> Command:
    """How to run a function whose image or folder is there; `environ` are variables of the command line.

    Raises InvalidInput for one that has nothing to run, and for secrets that are not in `.secrets`.
    """
    base = Base(image=built.image, fprocess=built.fprocess, environment=built.environment) if built else None
    spec = specification(function, Overrides(environment=dict(environ)), base)
    if not is_runnable(spec):
        raise InvalidInput(
            f"{function.where}: function {function.name!r} has nothing to run: no program, code or image"
        )
    folder = _secrets(function)
    return _in_container(spec, folder, port) if spec.image else _under_watchdog(spec, folder, port)


def _secrets(function: StackFunction) -> Path | None:
    folder = Path.cwd() / SECRETS
    missing = [name for name in function.secrets if not (folder / name).is_file()]
    if missing:
        raise InvalidInput(
            f"{function.where}: function {function.name!r} wants the secret{'s' * (len(missing) > 1)} {', '.join(missing)}:"
            f" write each to a file of that name in {SECRETS}"
        )
    return folder if function.secrets else None


def _named(spec: FunctionSpec) -> dict[str, str]:
    names = {
        "OPENFAAS_NAME": spec.name,
        "OPENFAAS_NAMESPACE": spec.namespace or "openfaas-fn",
        "jwt_auth_local": "true",
    }
    return {**names, **({"fprocess": spec.env_process} if spec.env_process else {}), **spec.env_vars}


def _under_watchdog(spec: FunctionSpec, secrets: Path | None, port: int) -> Command:
    inherited = {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith("LC_")}
    own = {"port": str(port), "PENSTOCK_WATCHDOG_METRICS_PORT": "0", "suppress_lock": "true"}
    where = {"PENSTOCK_SECRETS_DIR": str(secrets)} if secrets else {}
    arguments = [sys.executable, "-m", "penstock", "watchdog"]
    return Command(arguments, {**inherited, **_named(spec), **own, **where}, whole=True)


def _in_container(spec: FunctionSpec, secrets: Path | None, port: int) -> Command:
    arguments = ["docker", "run", "--name", spec.name, "--rm", "-i", f"-p={port}:8080" if port else "-p=8080"]
    arguments += [f"-e={name}={value}" for name, value in sorted(_named(spec).items())]
    if secrets:
        arguments.append(f"-v={secrets}:{_SECRETS_IN_CONTAINERS}:ro")
    if spec.limits.memory:
        arguments.append(f"--memory-reservation={max(parse_bytes(spec.limits.memory), _SMALLEST)}")
    if spec.limits.cpu:
        arguments.append(f"--cpus={_cpus(spec.limits.cpu)}")
    if spec.read_only_root:
        arguments.append("--read-only")
    return Command([*arguments, spec.image], {}, whole=False)


def _cpus(text: str) -> str:
    try:
        return f"{float(text.removesuffix('m')) / (1000 if text.endswith('m') else 1):g}"
    except ValueError:
        raise InvalidInput(f"limits: cpu: {text!r} is no number of processors, such as 500m or 1.5") from None


def become(command: Command) -> None:
    """Run it in our place, so that signals and the exit code are its own. Raises OSError."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command.arguments[0], command.arguments, command.full_environ())  # noqa: S606


def follow(stack: Stack, load: Callable[[], Stack], make: Callable[[Stack], Command]) -> None:
    """Run what `make` builds, anew each time a source or the stack file changes, until Ctrl-C. What fails is told of, and the
    old one goes on."""
    follower = _Follower(load, make)
    with unwinding():
        try:
            while True:
                stack = follower.until_another_watch(stack)
        finally:
            follower.stop()


class _Follower:
    """Has at most one function running: the newest that could be built."""

    def __init__(self, load: Callable[[], Stack], make: Callable[[Stack], Command]) -> None:
        self._load = load
        self._make = make
        self._running: _Running | None = None

    def until_another_watch(self, stack: Stack) -> Stack:
        """Follow a stack until there are other files to watch; the stack that they belong to."""
        sources = Sources(stack, Path.cwd())
        with watched(sources) as changes:
            self._renew(stack)
            while True:
                changed = changes.next(_TICK)
                self._look()
                if sources.file_touched(changed):
                    try:
                        return self._load()
                    except (PenstockError, OSError) as error:
                        note(f"Error: {error}")
                elif sources.outdated():
                    return stack
                elif sources.touched(changed):
                    self._renew(stack)

    def stop(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None

    def _look(self) -> None:
        """Say so when it has ended by itself."""
        if self._running is not None and self._running.ended():
            note(f"It has ended, exit code {self._running.code}; waiting for a change.")
            self.stop()

    def _renew(self, stack: Stack) -> None:
        """The next version in the place of the one that runs, which stays when there is none."""
        try:
            command = self._make(stack)
        except (PenstockError, OSError) as error:
            note(f"Error: {error}")
            return
        self.stop()
        self._running = _Running(command)


class _Running:
    """The function, in a session of its own: Ctrl-C is for us to hand on."""

    def __init__(self, command: Command) -> None:
        self._process = subprocess.Popen(
            command.arguments, env=command.full_environ(), stdin=subprocess.DEVNULL, start_new_session=True
        )

    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def code(self) -> int:
        """As Python counts: negative for a signal."""
        return self._process.returncode

    def stop(self) -> None:
        """SIGTERM, then after a while SIGKILL, for all of it."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self._process.kill()
        processes.kill_leftovers({self._process.pid}, set())
        self._process.wait()
