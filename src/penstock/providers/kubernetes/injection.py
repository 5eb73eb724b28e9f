"""How a function's image is run on a cluster, where nobody can read its entrypoint beforehand: as it is, or through our watchdog.

Pure; called by `podspec`, `probes` and `manifests`. docs/decisions/0011 has the rule where the image can be read; here the
specification alone decides, and where it leaves the question open the container does, when it starts.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.model import FunctionSpec
from penstock.providers.containers import labels
from penstock.providers.containers.plan import FUNCTION_PORT, WATCHDOG
from penstock.providers.validation import program_of
from penstock.watchdog.settings import IMPORTING_MODES

Way = Literal["image", "port", "watchdog", "either"]

_WITHOUT_PROGRAM = (*IMPORTING_MODES, "static")


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
        return WATCHDOG if self.injected else ()


def start_of(spec: FunctionSpec) -> Start:
    """What labels, variables and the program that is named say. Expects a specification that `manifests.check` has accepted."""
    if own := spec.labels.get(labels.HTTP_PORT):
        return Start(way="port", port=int(own))
    return Start(way=_way(spec), port=_watchdog_port(spec))


def _way(spec: FunctionSpec) -> Way:
    decision, mode = spec.labels.get(labels.WATCHDOG), spec.env_vars.get("mode", "")
    if decision == "image":
        return "image"
    if decision == "inject" or mode in IMPORTING_MODES:
        return "watchdog"
    return "either" if program_of(spec) or mode in _WITHOUT_PROGRAM else "image"


def _watchdog_port(spec: FunctionSpec) -> int:
    """By the watchdogs' own rule: what is no port counts as the default."""
    text = spec.env_vars.get("port", "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0
    return number if 0 < number < 1 << 16 else FUNCTION_PORT
