"""Metrics of events of object storage: what was notified, and what became of telling functions."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.control.exposition import head, label
from penstock.control.storageevents import StorageEvents
from penstock.storage.delivery import Deliverer
from penstock.storage.poller import Poller

RESULTS = ("accepted", "repeated", "unmatched")
OUTCOMES = ("delivered", "failed", "dead")


class DeliveriesOfEvents:
    """Each family reads what the parts count since this process started, but for what is on disk."""

    def __init__(self, events: StorageEvents, deliverer: Deliverer, poller: Poller | None) -> None:
        self._events = events
        self._deliverer = deliverer
        self._poller = poller

    def lines(self) -> Iterator[str]:
        yield from self._notified()
        yield from self._delivered()
        yield from self._kept()
        if self._poller:
            yield from head("penstock_storage_looks_total", "counter", "Looks into buckets, by what became of them.")
            for (bucket, result), count in sorted(self._poller.looks.items()):
                yield f"penstock_storage_looks_total{{{label('bucket', bucket)},{label('result', result)}}} {count}"

    def _notified(self) -> Iterator[str]:
        help_text = "Events of object stores, for each function that wants them, by what became of them."
        yield from head("penstock_storage_events_total", "counter", help_text)
        counts = {**{result: self._deliverer.events[result] for result in RESULTS}, "unusable": self._events.unusable}
        for result, count in counts.items():
            yield f'penstock_storage_events_total{{result="{result}"}} {count}'

    def _delivered(self) -> Iterator[str]:
        help_text = (
            "Calls that told functions of events: delivered, failed, or given up after the last one failed (dead)."
        )
        yield from head("penstock_storage_deliveries_total", "counter", help_text)
        outcomes = self._deliverer.outcomes
        for function in sorted({function for function, _ in outcomes}):
            for outcome in OUTCOMES:
                labels = f"{label('function_name', function)},{label('result', outcome)}"
                yield f"penstock_storage_deliveries_total{{{labels}}} {outcomes[function, outcome]}"

    def _kept(self) -> Iterator[str]:
        counts = self._deliverer.log.counts
        yield from head("penstock_storage_deliveries_pending", "gauge", "Deliveries of events that are not over.")
        yield f"penstock_storage_deliveries_pending {counts.pending}"
        yield from head(
            "penstock_storage_deliveries_dead", "gauge", "Deliveries of events that were given up and are kept."
        )
        yield f"penstock_storage_deliveries_dead {counts.dead}"
