"""Which functions want to be told of an event, as their annotations say: read anew only when they have changed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping

from penstock.core.topics import Subscription, subscription_of
from penstock.errors import InvalidInput
from penstock.model import Function
from penstock.storage.objectevent import ObjectEvent

log = logging.getLogger(__name__)


class Subscriptions:
    """Of all `functions`, which are by `name.namespace`."""

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self._functions = functions
        self._read: dict[str, tuple[Mapping[str, str], Subscription | None]] = {}

    def of(self, key: str) -> Subscription | None:
        """What one function wants; None also where there is no such function."""
        function = self._functions.get(key)
        if function is None:
            self._read.pop(key, None)
            return None
        annotations = function.spec.annotations
        read = self._read.get(key)
        if read is None or (read[0] is not annotations and read[0] != annotations):
            read = self._read[key] = (annotations, _usable(key, annotations))
        return read[1]

    def to_tell(self, events: Iterable[ObjectEvent]) -> Iterator[tuple[ObjectEvent, list[str]]]:
        """Each event and the functions that it concerns, by name. Who subscribes is found out once for all of them."""
        everyone = list(self._all())
        for event in events:
            yield event, [key for key, wanted in everyone if wanted.covers(event.kind, event.bucket, event.key)]

    def buckets(self) -> set[str]:
        """All buckets that some function wants to hear of."""
        return {topic.bucket for _, wanted in self._all() for topic in wanted.topics}

    def _all(self) -> Iterator[tuple[str, Subscription]]:
        for key in sorted(self._functions):
            wanted = self.of(key)
            if wanted:
                yield key, wanted


def _usable(key: str, annotations: Mapping[str, str]) -> Subscription | None:
    """Annotations are checked when a function is deployed; one deployed by other means hears nothing."""
    try:
        return subscription_of(annotations)
    except InvalidInput as error:
        log.warning("%s hears of no objects: %s", key, error)
        return None
