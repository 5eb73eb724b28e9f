"""Metrics of events, word for word."""

from __future__ import annotations

from pathlib import Path

from penstock.control.storageevents import StorageEvents
from penstock.control.storagemetrics import DeliveriesOfEvents
from penstock.providers.clock import SystemClock
from penstock.storage.delivery import Deliverer
from penstock.storage.eventlog import Counts, EventLog
from penstock.storage.poller import Poller, Polling
from tests.unit.storage.support import ScriptedCaller


class Everything:
    async def snapshot(self) -> None:
        """All functions are known."""


def counted(path: Path) -> tuple[StorageEvents, Deliverer, Poller]:
    deliverer = Deliverer(EventLog(path), {}, ScriptedCaller(), SystemClock(), ())
    events = StorageEvents(Everything(), deliverer)
    poller = Poller(None, deliverer, SystemClock(), Polling(("photos",), 1.0), None)  # type: ignore[arg-type]
    return events, deliverer, poller


def test_everything_that_is_counted_is_told(tmp_path: Path) -> None:
    events, deliverer, poller = counted(tmp_path / "events.db")
    events.unusable = 4
    deliverer.events.update({"accepted": 3, "repeated": 2, "unmatched": 1})
    deliverer.outcomes.update({("f.ns", "delivered"): 2, ("f.ns", "failed"): 5, ("g.ns", "dead"): 1})
    deliverer.log.counts = Counts(pending=7, dead=8)
    poller.looks.update({("photos", "complete"): 9, ("photos", "failed"): 1})
    assert list(DeliveriesOfEvents(events, deliverer, poller).lines()) == [
        "# HELP penstock_storage_events_total Events of object stores, for each function that wants them, by what became of them.",
        "# TYPE penstock_storage_events_total counter",
        'penstock_storage_events_total{result="accepted"} 3',
        'penstock_storage_events_total{result="repeated"} 2',
        'penstock_storage_events_total{result="unmatched"} 1',
        'penstock_storage_events_total{result="unusable"} 4',
        "# HELP penstock_storage_deliveries_total Calls that told functions of events: delivered, failed, or given up after the"
        " last one failed (dead).",
        "# TYPE penstock_storage_deliveries_total counter",
        'penstock_storage_deliveries_total{function_name="f.ns",result="delivered"} 2',
        'penstock_storage_deliveries_total{function_name="f.ns",result="failed"} 5',
        'penstock_storage_deliveries_total{function_name="f.ns",result="dead"} 0',
        'penstock_storage_deliveries_total{function_name="g.ns",result="delivered"} 0',
        'penstock_storage_deliveries_total{function_name="g.ns",result="failed"} 0',
        'penstock_storage_deliveries_total{function_name="g.ns",result="dead"} 1',
        "# HELP penstock_storage_deliveries_pending Deliveries of events that are not over.",
        "# TYPE penstock_storage_deliveries_pending gauge",
        "penstock_storage_deliveries_pending 7",
        "# HELP penstock_storage_deliveries_dead Deliveries of events that were given up and are kept.",
        "# TYPE penstock_storage_deliveries_dead gauge",
        "penstock_storage_deliveries_dead 8",
        "# HELP penstock_storage_looks_total Looks into buckets, by what became of them.",
        "# TYPE penstock_storage_looks_total counter",
        'penstock_storage_looks_total{bucket="photos",result="complete"} 9',
        'penstock_storage_looks_total{bucket="photos",result="failed"} 1',
    ]


def test_where_nobody_looks_into_buckets_there_is_no_family_of_it(tmp_path: Path) -> None:
    events, deliverer, _ = counted(tmp_path / "events.db")
    assert not any("looks" in line for line in DeliveriesOfEvents(events, deliverer, None).lines())
