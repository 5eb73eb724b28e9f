"""Where loads come from: the meter for what the gateway sees itself, other sources for what it does not.

The scaler asks for one load at a time. A load that is not known comes with the reason, for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from penstock.autoscaler.meter import Meter
from penstock.core.scalelabels import Scaling

OWN_KINDS = ("rps", "capacity")
"""Loads that there are only while requests come."""


class CpuSource(Protocol):
    """Processor time of functions; `autoscaler.usage` measures it."""

    def cpu(self, key: str) -> float | None:
        """Thousandths of a core that all replicas which have been ready use together."""

    def why(self, key: str) -> str:
        """Why that is not known; empty when it is."""


class SeriesSource(Protocol):
    """Values that Prometheus has; `autoscaler.prometheus` asks for them."""

    def watch(self, wanted: Mapping[str, Scaling]) -> None:
        """The functions whose values are needed from now on."""

    def value(self, key: str) -> float | None: ...

    def why(self, key: str) -> str:
        """Why the value is not known; empty when it is."""


class Load(NamedTuple):
    """The load of one function, or why nobody knows it."""

    value: float | None
    unknown: str = ""


@dataclass(frozen=True)
class Loads:
    """All sources of load that there are."""

    meter: Meter = field(default_factory=Meter)
    cpu: CpuSource | None = None
    series: SeriesSource | None = None

    def of(self, key: str, scaling: Scaling) -> Load:
        kind = scaling.kind
        if kind in OWN_KINDS:
            if not self.meter.knows:
                return Load(None, "nothing has been measured yet")
            return Load(self.meter.rps(key) if kind == "rps" else self.meter.inflight(key))
        if kind == "cpu":
            return self._cpu(key)
        if kind == "queue":
            return Load(None, "there is no queue of asynchronous calls")
        return self._series(key)

    def watch(self, wanted: Mapping[str, Scaling]) -> None:
        """Tell Prometheus' source which functions are scaled by its values."""
        if self.series:
            self.series.watch(wanted)

    def _cpu(self, key: str) -> Load:
        if self.cpu is None:
            return Load(None, "CPU is not measured here")
        return Load(self.cpu.cpu(key), self.cpu.why(key))

    def _series(self, key: str) -> Load:
        if self.series is None:
            return Load(None, "no Prometheus is configured")
        return Load(self.series.value(key), self.series.why(key))
