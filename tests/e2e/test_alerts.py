"""Scaling by alerts, from load to more replicas and back: a real Prometheus and Alertmanager with the files that we ship."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.monitoring import monitoring
from tests.e2e.serving import Penstock, serving, wait_until

NOTICED = 300.0
"""Seconds, generous: the rules look at ten seconds, in which a busy machine may miss a scrape, and an alert begins anew then."""


@contextlib.contextmanager
def load(server: Penstock, function: str) -> Iterator[None]:
    """Calls, one after the other."""
    over = threading.Event()

    def call() -> None:
        while not over.wait(0.02):
            server.invoke(function, b"x")

    caller = threading.Thread(target=call)
    caller.start()
    try:
        yield
    finally:
        over.set()
        caller.join()


def wait_printed(server: Penstock, text: str) -> None:
    """What is decided may be seen a moment before it is in the log."""
    wait_until(lambda: text in server.printed(), f"{text!r} in the log")


@pytest.mark.service("prometheus", "prometheus-alertmanager")
def test_load_brings_replicas_and_its_end_takes_them_away() -> None:
    with serving() as server, monitoring(server):
        server.deploy("busy", "cat")
        server.deploy("idle", "cat")
        with load(server, "busy"):
            wait_until(lambda: server.function("busy").get("availableReplicas", 0) >= 3, "more replicas", NOTICED)
        wait_until(lambda: server.function("busy")["replicas"] == 1, "the end of the alert", NOTICED)
        assert server.function("idle")["replicas"] == 1
        for line in ("an alert fires: 3 replicas, not 1", "an alert is over: 1 replicas"):
            wait_printed(server, f"busy.openfaas-fn: {line}")
