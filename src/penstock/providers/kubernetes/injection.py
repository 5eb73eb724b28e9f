"""How a function's image is run on a cluster, where nobody can read its entrypoint beforehand: as it is, or through our watchdog.

Pure; called by `podspec`, `probes` and `manifests`. docs/decisions/0011 has the rule where the image can be read; here the
specification alone decides, and where it leaves the question open the container does, when it starts. From the top:

1. the label `com.penstock.http-port`: as it is, a server of its own on that port;
2. the label `com.penstock.watchdog`: as it is for `image`, ours for `inject`;
3. a mode that imports the function, or a limit that only our watchdog applies: ours;
4. a program (`envProcess`, or `fprocess` among the variables) or the mode `static`: the image's own watchdog where the container
   finds an `fwatchdog` or `of-watchdog` in it, otherwise ours;
5. nothing of this: as it is. It is expected to have a watchdog, or to answer like one on port 8080.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers import labels
from penstock.providers.containers.plan import FUNCTION_PORT, WATCHDOG
from penstock.providers.limits import CPU_SECONDS_LABEL, OPEN_FILES_LABEL, PROCESSES_LABEL, limits_of
from penstock.providers.validation import program_of
from penstock.watchdog.settings import IMPORTING_MODES

Way = Literal["image", "port", "watchdog", "either"]


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """How containers of a function start."""

    way: Way
    """`image`: as it is, a watchdog or what answers like one. `port`: as it is, a server of its own. `watchdog`: ours.
    `either`: the image's own watchdog where the container finds one, ours where it does not."""
    port: int
    """Where the function answers HTTP."""

    @property
    def injected(self) -> bool:
        """Whether the bundle must be in the container."""
        return self.way in ("watchdog", "either")

    @property
    def command(self) -> tuple[str, ...]:
        """Empty leaves the image's own."""
        if not self.injected:
            return ()
        return (*WATCHDOG, "--give-way") if self.way == "either" else WATCHDOG


def start_of(spec: FunctionSpec) -> Start:
    """What labels, variables and the program that is named say. Expects labels that `plan.check_labels` has accepted."""
    if own := spec.labels.get(labels.HTTP_PORT):
        return Start(way="port", port=int(own))
    return Start(way=_way(spec), port=_watchdog_port(spec))


def check_start(spec: FunctionSpec) -> None:
    """Raise InvalidInput where nothing would run the program that is named, or apply the limits."""
    way = start_of(spec).way
    if way == "port" and program_of(spec) and spec.labels.get(labels.WATCHDOG) != "image":
        raise InvalidInput(
            f"envProcess: nothing would run it, {labels.HTTP_PORT} serves {spec.image} as it is; leave one of them out, or add "
            f"the label {labels.WATCHDOG}=image when the image has a watchdog of its own"
        )
    if limits_of(spec).processes:
        raise InvalidInput(
            f"labels: {PROCESSES_LABEL}: Kubernetes counts processes for every pod alike (podPidsLimit of its nodes) and not for "
            "one function; leave it out"
        )
    limited = _limits(spec)
    if limited and way in ("image", "port"):
        raise InvalidInput(
            f"labels: {limited}: only our watchdog applies it on Kubernetes, and {spec.image} runs as it is; leave it out, or "
            f"name the program in envProcess with the label {labels.WATCHDOG}=inject"
        )


def limits_for(spec: FunctionSpec) -> dict[str, str]:
    """Variables by which our watchdog limits each program that it starts."""
    limits = limits_of(spec)
    numbers = {"PENSTOCK_RLIMIT_CPU": limits.cpu_seconds, "PENSTOCK_RLIMIT_NOFILE": limits.open_files}
    return {name: str(number) for name, number in numbers.items() if number}


def _way(spec: FunctionSpec) -> Way:
    decision, mode = spec.labels.get(labels.WATCHDOG), spec.env_vars.get("mode", "")
    if decision == "image":
        return "image"
    if decision == "inject" or mode in IMPORTING_MODES:
        return "watchdog"
    if program_of(spec) or mode == "static":
        return "watchdog" if _limits(spec) else "either"
    return "image"


def _limits(spec: FunctionSpec) -> str:
    """The label of a limit that only our watchdog applies; empty where there is none."""
    return next((label for label in (CPU_SECONDS_LABEL, OPEN_FILES_LABEL) if spec.labels.get(label)), "")


def _watchdog_port(spec: FunctionSpec) -> int:
    """By the watchdogs' own rule: what is no port counts as the default."""
    text = spec.env_vars.get("port", "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    return number if 0 < number < 1 << 16 else FUNCTION_PORT
