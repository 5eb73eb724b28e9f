"""Looks into buckets again and again for what came, changed or went, for stores that cannot notify anybody.

`control.process` runs it where the setting `poll` names buckets. Each look compares the store's list, which is in order of keys, with
what was seen before, page by page, so that memory does not grow with the bucket; a page and the deliveries that come of it are noted
together. Who is told, and how, is for `storage.delivery`.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from penstock.core.topics import Kind
from penstock.errors import InvalidInput, PenstockError
from penstock.providers.clock import Clock
from penstock.storage.delivery import Deliverer
from penstock.storage.errors import StorageError
from penstock.storage.eventlog import Seen
from penstock.storage.objectevent import ObjectEvent
from penstock.storage.reference import check_key, shown

log = logging.getLogger(__name__)

PAGE = 1000
"""Objects compared at once, as many as stores list at once."""

HANDOVER = 120.0
"""Seconds before it was last seen that another gateway leads, and an interval more, in which that one may have missed objects: its lease
outlives it by 15 s; the rest is for a look that takes long, and for a store whose clock is another."""

_NAMES: dict[Kind, str] = {"created": "s3:ObjectCreated:Polled", "removed": "s3:ObjectRemoved:Polled"}


class Listed(Protocol):
    """An object in a list."""

    @property
    def key(self) -> str: ...

    @property
    def size(self) -> int: ...

    @property
    def etag(self) -> str: ...

    @property
    def modified(self) -> float: ...


class Listing(Protocol):
    """A store that lists objects by key."""

    def list(self, bucket: str, prefix: str = "", after: str = "") -> AsyncIterator[Listed]: ...


class Leading(Protocol):
    """Whether we are the one of several gateways that looks."""

    @property
    def held(self) -> bool: ...

    @property
    def elsewhere(self) -> bool:
        """Whether another one is known to be it. At the start neither is known."""


@dataclass(frozen=True)
class Polling:
    """Which buckets, how many seconds between two looks, and whether the first one tells of what is there already."""

    buckets: tuple[str, ...]
    interval: float
    existing: bool = False


class Poller:
    """The looks of one control process."""

    def __init__(self, store: Listing, deliverer: Deliverer, clock: Clock, polling: Polling, lease: Leading) -> None:
        self.looks: Counter[tuple[str, str]] = Counter()
        """By bucket and what became of them: `complete`, `failed`."""
        self._store = store
        self._deliverer = deliverer
        self._log = deliverer.log
        self._clock = clock
        self._polling = polling
        self._lease = lease
        self._failing: set[str] = set()
        self._followed = math.inf
        """When another gateway led last, as far as we have seen; infinite where none has."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            if self._lease.elsewhere:
                self._followed = self._clock.now().timestamp()
            elif self._lease.held and self._deliverer.is_open:
                wanted = self._deliverer.subscriptions.buckets()
                for bucket in self._polling.buckets:
                    if bucket in wanted:
                        await self._try(bucket)
            await self._clock.sleep(self._polling.interval)

    async def _try(self, bucket: str) -> None:
        try:
            await self.look(bucket)
        except PenstockError as error:
            self.looks[bucket, "failed"] += 1
            if bucket not in self._failing:
                log.warning("cannot look into the bucket %s: %s", bucket, error)
            self._failing.add(bucket)
        except Exception:
            self.looks[bucket, "failed"] += 1
            log.exception("cannot look into the bucket %s", bucket)
        else:
            self.looks[bucket, "complete"] += 1
            self._failing.discard(bucket)

    async def look(self, bucket: str) -> None:
        """Compare the whole bucket once. Raises StorageError, DatabaseUnavailable; what was compared until then is noted."""
        first = not await self._log.looked(bucket)
        since = self._told_since() if first else -math.inf
        after = ""
        async for page in self._pages(bucket):
            if not _ascends(after, page):
                raise StorageError(f"the store lists the bucket {bucket} out of order: it cannot be compared")
            await self._compare(bucket, after, page, since)
            after = page[-1].key
        await self._remove_all(bucket, after)
        if first:
            await self._log.finish_look(bucket)
            log.info("the bucket %s was looked into for the first time", bucket)

    def _told_since(self) -> float:
        """What was written before is not told of at a first look. Whoever led before us has looked, but for the last while."""
        return -math.inf if self._polling.existing else self._followed - HANDOVER - self._polling.interval

    async def _pages(self, bucket: str) -> AsyncIterator[list[Listed]]:
        page: list[Listed] = []
        async for listed in self._store.list(bucket):
            page.append(listed)
            if len(page) == PAGE:
                yield page
                page = []
        if page:
            yield page

    async def _compare(self, bucket: str, after: str, page: Sequence[Listed], since: float) -> None:
        """Note what is new or different in a page, and what is missing between it and the one before.

        Nobody is told of what was written before `since`.
        """
        here = {listed.key: _mark(listed) for listed in page}
        known: dict[str, str] = {}
        upto = page[-1].key
        while seen := await self._log.seen(bucket, after, upto, PAGE):
            gone = [one for one in seen if one.key not in here]
            known.update(one for one in seen if one.key in here)
            await self._note(bucket, [], gone, [])
            after = seen[-1].key
        fresh = [listed for listed in page if known.get(listed.key) != here[listed.key]]
        told = [listed for listed in fresh if listed.modified >= since]
        events = [_event("created", bucket, listed.key, _mark(listed), listed) for listed in told]
        await self._note(bucket, [Seen(listed.key, here[listed.key]) for listed in fresh], [], events)

    async def _remove_all(self, bucket: str, after: str) -> None:
        """Everything behind the list's last object is gone."""
        while gone := await self._log.seen(bucket, after, None, PAGE):
            await self._note(bucket, [], gone, [])

    async def _note(
        self, bucket: str, here: Sequence[Seen], gone: Sequence[Seen], events: Sequence[ObjectEvent]
    ) -> None:
        if not here and not gone:
            return
        removed = [_event("removed", bucket, one.key, one.mark) for one in gone]
        deliveries, unmatched = self._deliverer.plan(event for event in (*events, *removed) if _nameable(event))
        added = await self._log.note(bucket, here, [one.key for one in gone], deliveries, self._clock.now().timestamp())
        self._deliverer.taken(added, len(deliveries) - added, unmatched)


def _ascends(after: str, page: Sequence[Listed]) -> bool:
    """By Unicode's code points, which is the order of UTF-8's bytes and SQLite's."""
    keys = [after, *(listed.key for listed in page)]
    return all(before < key for before, key in itertools.pairwise(keys))


def _mark(listed: Listed) -> str:
    """Changes whenever the object is written, even with the same content."""
    return f"{listed.etag} {listed.size} {listed.modified!r}"


def _event(kind: Kind, bucket: str, key: str, mark: str, listed: Listed | None = None) -> ObjectEvent:
    return ObjectEvent(
        name=_NAMES[kind],
        kind=kind,
        bucket=bucket,
        key=key,
        etag=listed.etag if listed else "",
        size=listed.size if listed else None,
        identity=mark,
    )


def _nameable(event: ObjectEvent) -> bool:
    try:
        check_key(event.key)
    except InvalidInput as error:
        log.warning("nobody is told of an object in the bucket %s: %s", event.bucket, shown(str(error)))
        return False
    return True
