"""Puts together what hears of objects and tells functions of them, and runs it beside the REST API.

`control.process` makes one where the settings name buckets. Events are delivered by whichever gateway accepted them; of several only the
one that leads looks into buckets.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
from collections.abc import Coroutine, Iterator
from typing import Any

from penstock.autoscaler.lease import Lease
from penstock.autoscaler.scaler import Scaler
from penstock.control.feed import Feed
from penstock.control.storageevents import StorageEvents
from penstock.control.storagemetrics import DeliveriesOfEvents
from penstock.core.policy import policy_of
from penstock.credentials import Credentials
from penstock.errors import InvalidInput
from penstock.providers.base import Provider
from penstock.providers.clock import SystemClock
from penstock.settings import ServeSettings
from penstock.storage.delivery import Deliverer, Limits
from penstock.storage.eventlog import EventLog
from penstock.storage.gatewaycall import GatewayCaller
from penstock.storage.objects import ObjectStore
from penstock.storage.poller import Poller, Polling

GRACE = 30.0
"""Seconds that a call waits longer than the gateway, which knows more and answers itself."""

_ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound here


class StorageWork:
    """Everything about events of one control process."""

    def __init__(
        self, settings: ServeSettings, provider: Provider, feed: Feed, scaler: Scaler, credentials: Credentials | None
    ) -> None:
        storage, clock = settings.storage, SystemClock()
        self._feed = feed
        self.caller = GatewayCaller(_base(settings), _authorization(credentials), self._longest)
        self._default_policy = settings.default_policy
        limits = Limits(in_flight=storage.events_in_flight, attempts=storage.event_attempts)
        log = EventLog(settings.paths.events_db)
        self._deliverer = Deliverer(log, feed.functions, self.caller, clock, storage.allowed, limits)
        self.events = StorageEvents(feed, self._deliverer, credentials.password if credentials else None)
        # Without autoscaling nobody asks for the lease by which one of several gateways leads.
        self._lease = None if settings.autoscaling else Lease(provider.lead, socket.gethostname(), clock)
        lease = self._lease or scaler.lease
        self._poller: Poller | None = None
        if storage.polled:
            polling = Polling(storage.polled, storage.poll_interval, storage.poll_existing)
            self._poller = Poller(ObjectStore(storage, os.environ), self._deliverer, clock, polling, lease)
        self.lines = DeliveriesOfEvents(self.events, self._deliverer, self._poller).lines

    def works(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to go on inside `caller`'s block, while the feed is followed."""
        yield self._deliver()
        if self._poller:
            yield self._poller.run()
        if self._poller and self._lease:
            yield self._lease.keep()

    async def _deliver(self) -> None:
        await self._feed.snapshot()  # until then it would seem that there are no functions
        await self._deliverer.run()

    def _longest(self, key: str) -> float:
        """Seconds that a call of a function may take; 0 for any."""
        function, policy = self._feed.functions.get(key), self._default_policy
        if function:
            with contextlib.suppress(InvalidInput, ValueError):  # the feed has warned of it, and takes the default too
                policy = policy_of(function.spec, policy)
        return policy.timeout + policy.queue_timeout + GRACE if policy.timeout else 0.0


def _base(settings: ServeSettings) -> str:
    host = _ANY_HOST.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _authorization(credentials: Credentials | None) -> str:
    if credentials is None:
        return ""
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()
