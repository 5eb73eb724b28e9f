"""Metrics of scaling: what functions ask for by their labels, what they use, and what the scaler does about it.

`control.process` hands the families to the metrics port. Each reads what others keep; nothing is measured or decided here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

from penstock.autoscaler.journal import Journal
from penstock.autoscaler.usage import UsageSampler
from penstock.control.exposition import family, head, label, number
from penstock.core.scalelabels import usable_scaling
from penstock.model import Function, Usage

ALERT_RESULTS = ("scaled", "unchanged", "unnamed", "unknown", "failed")
"""What became of an alert."""


class _Settings(NamedTuple):
    """What a function's labels ask for, as lines of the three families."""

    labels: Mapping[str, str]
    target: str
    least: str
    most: str


class SettingsOfScaling:
    """How functions want to be scaled. Labels are read anew only when they have changed: a scrape must not read a thousand."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions
        self._read: dict[str, _Settings] = {}

    def lines(self) -> Iterator[str]:
        functions = [(key, function) for key, function in sorted(self._functions.items()) if not function.spec.stages]
        settings = {key: self._settings(key, function) for key, function in functions}
        self._read = settings
        yield from head("gateway_service_target_load", "gauge", "Load that one replica is to have at most.")
        yield from [one.target for one in settings.values()]
        yield from head("gateway_service_min", "gauge", "Least replicas of the function, unless it is at zero.")
        yield from [one.least for one in settings.values()]
        yield from head("gateway_service_max", "gauge", "Most replicas of the function.")
        yield from [one.most for one in settings.values()]

    def _settings(self, key: str, function: Function) -> _Settings:
        labels = function.spec.labels
        read = self._read.get(key)
        if read is not None and (read.labels is labels or read.labels == labels):
            return read
        scaling, name = usable_scaling(labels)[0], label("function_name", key)
        kind = label("scaling_type", scaling.kind)
        return _Settings(
            labels,
            f"gateway_service_target_load{{{name},{kind}}} {number(scaling.target)}",
            f"gateway_service_min{{{name}}} {scaling.least}",
            f"gateway_service_max{{{name}}} {scaling.most}",
        )


class UseOfFunctions:
    """What was measured of functions lately; those of which nothing is known are left out."""

    def __init__(self, functions: Mapping[str, Function], sampler: UsageSampler) -> None:
        self._functions = functions
        self._sampler = sampler

    def lines(self) -> Iterator[str]:
        known: dict[str, Usage] = {}
        for key, function in self._functions.items():
            usage = None if function.spec.stages else self._sampler.usage(key)
            if usage is not None:
                known[key] = usage
        cpu = {key: round(usage.cpu_millis, 3) for key, usage in known.items()}
        help_text = "Processor time that replicas use together, without their starts, in thousandths of a core."
        yield from family("penstock_function_cpu_millis", "gauge", help_text, cpu)
        memory = {key: usage.memory_bytes for key, usage in known.items()}
        help_text = "Memory that all replicas use together."
        yield from family("penstock_function_memory_bytes", "gauge", help_text, memory)


class Deeds(Protocol):
    """What the scaler has done since this process started."""

    @property
    def journal(self) -> Journal: ...

    @property
    def leader(self) -> bool:
        """Whether this process decides for the installation."""

    @property
    def ticks(self) -> int: ...

    @property
    def tick_seconds(self) -> float:
        """Time that all ticks took together."""

    @property
    def alerts(self) -> Mapping[str, int]:
        """Alerts by what became of them (`ALERT_RESULTS`)."""


class DeedsOfScaler:
    """Decisions, alerts and the scaler's own pace."""

    def __init__(self, deeds: Deeds) -> None:
        self._deeds = deeds

    def lines(self) -> Iterator[str]:
        deeds = self._deeds
        counts = sorted(deeds.journal.counts.items())
        yield from head("penstock_scaling_decisions_total", "counter", "Decisions about replicas, by what decided.")
        for (key, rule), count in counts:
            labels = f"{label('function_name', key)},{label('rule', rule)}"
            yield f"penstock_scaling_decisions_total{{{labels}}} {count}"
        yield from head("penstock_alerts_total", "counter", "Alerts of Alertmanager, by what became of them.")
        for result in ALERT_RESULTS:
            yield f'penstock_alerts_total{{result="{result}"}} {deeds.alerts.get(result, 0)}'
        yield from head("penstock_scaling_tick_seconds", "summary", "Time to decide about all functions once.")
        yield f"penstock_scaling_tick_seconds_sum {deeds.tick_seconds!r}"
        yield f"penstock_scaling_tick_seconds_count {deeds.ticks}"
        yield from head("penstock_scaling_leader", "gauge", "Whether this gateway decides for the installation.")
        yield f"penstock_scaling_leader {int(deeds.leader)}"
