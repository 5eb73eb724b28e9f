"""Objects of one kind as the cluster has them, kept in memory: listed once, then watched. Made by the provider for each kind it follows.

While the API server is away the last state stays, so that functions go on. A watch is a hint: what was missed is found by the
next list.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from penstock.errors import PenstockError
from penstock.providers.clock import Clock
from penstock.providers.kubernetes.api import Api, Document, Labels
from penstock.providers.kubernetes.apierrors import ApiGone
from penstock.providers.kubernetes.kinds import Kind

Place = tuple[str, str]
"""Namespace and name of an object; the namespace is empty where the kind has none."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 10.0
"""Seconds before the API server is asked again; it doubles."""

_log = logging.getLogger(__name__)


@dataclass
class _Part:
    """The objects of one namespace, or of the whole cluster."""

    namespace: str | None
    task: asyncio.Task[None] | None = None
    places: set[Place] = field(default_factory=set)
    listed: asyncio.Event = field(default_factory=asyncio.Event)
    trouble: str = ""


class Mirror:
    """`namespaces` None is the whole cluster."""

    def __init__(
        self, api: Api, kind: Kind, labels: Labels, clock: Clock, namespaces: Iterable[str] | None = None
    ) -> None:
        self._api, self._kind, self._labels, self._clock = api, kind, labels, clock
        self._items: dict[Place, Document] = {}
        self._changed: list[Callable[[Place], None]] = []
        wanted: Iterable[str | None] = [None] if namespaces is None else dict.fromkeys(namespaces)
        self._parts = {namespace: _Part(namespace) for namespace in wanted}

    @property
    def items(self) -> Mapping[Place, Document]:
        return self._items

    @property
    def behind(self) -> str:
        """Why it is not what the cluster has now; empty when it is."""
        return next((part.trouble for part in self._parts.values() if part.trouble), "")

    def follow(self, changed: Callable[[Place], None]) -> None:
        """Call this for each object that came, changed or went, after it is in `items`."""
        self._changed.append(changed)

    def start(self) -> None:
        for part in self._parts.values():
            self._begin(part)

    async def synced(self) -> None:
        """Wait until all was listed once."""
        for part in list(self._parts.values()):
            await part.listed.wait()

    async def close(self) -> None:
        tasks = [part.task for part in self._parts.values() if part.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def note(self, document: Document) -> None:
        """What a change of our own was answered with, so that it need not wait for the watch. Older versions are passed over."""
        place = _place(document)
        for part in self._parts.values():
            if part.namespace in (None, place[0]) and _version(document) > _version(self._items.get(place)):
                self._put(part, place, document)

    def forget(self, place: Place) -> None:
        """As `note`, for one that was deleted."""
        for part in self._parts.values():
            if place in part.places:
                self._drop(part, place)

    # Steps

    def _begin(self, part: _Part) -> None:
        part.task = asyncio.create_task(self._keep(part))

    async def _keep(self, part: _Part) -> None:
        """List and watch, again and again."""
        pause, version = FIRST_PAUSE, ""
        while True:
            began = self._clock.monotonic()
            try:
                version = version or await self._list(part)
                self._tell(part, "")
                version = await self._watch(part, version)
            except ApiGone:
                version = ""
            except PenstockError as error:
                self._tell(part, str(error))
                # What a watch says no to may be its version.
                version = ""
            except Exception as error:
                _log.exception("%s cannot be followed", self._kind.plural)
                self._tell(part, f"what the cluster answers makes no sense: {type(error).__name__}")
                version = ""
            if self._clock.monotonic() - began > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            await self._clock.sleep(pause * random.uniform(0.8, 1.2))  # not all gateways come back at once
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _list(self, part: _Part) -> str:
        listing = await self._api.list(self._kind, part.namespace, self._labels)
        found = {_place(document): document for document in listing.items}
        for place in part.places - found.keys():
            self._drop(part, place)
        for place, document in found.items():
            before = self._items.get(place)
            if place not in part.places or _version_text(before) != _version_text(document):
                self._put(part, place, document)
        part.listed.set()
        return listing.version

    async def _watch(self, part: _Part, version: str) -> str:
        """Until the server ends it; the version to go on from."""
        events = self._api.watch(self._kind, part.namespace, self._labels, version)
        async with contextlib.aclosing(events) as stream:
            async for event in stream:
                version = _version_text(event.document) or version
                place = _place(event.document)
                if event.type == "DELETED":
                    self._drop(part, place)
                elif event.type in ("ADDED", "MODIFIED") and not self._is_older(event.document):
                    self._put(
                        part, place, {"apiVersion": self._kind.api_version, "kind": self._kind.name, **event.document}
                    )
        return version

    def _put(self, part: _Part, place: Place, document: Document) -> None:
        part.places.add(place)
        self._items[place] = document
        self._call(place)

    def _drop(self, part: _Part, place: Place) -> None:
        part.places.discard(place)
        if self._items.pop(place, None) is not None:
            self._call(place)

    def _is_older(self, document: Document) -> bool:
        """Whether an answer to a change of ours was newer."""
        return 0 < _version(document) < _version(self._items.get(_place(document)))

    def _call(self, place: Place) -> None:
        for changed in self._changed:
            changed(place)

    def _tell(self, part: _Part, trouble: str) -> None:
        """Once when it begins, and once when it is over."""
        if bool(trouble) != bool(part.trouble):
            what = f"{self._kind.plural} {f'of {part.namespace}' if part.namespace else 'of the cluster'}"
            if trouble:
                _log.warning("%s cannot be followed, what was known of them stays: %s", what, trouble)
            else:
                _log.info("%s are followed again", what)
        part.trouble = trouble


def _place(document: Document) -> Place:
    metadata = document.get("metadata") or {}
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _version_text(document: Document | None) -> str:
    return str(((document or {}).get("metadata") or {}).get("resourceVersion", ""))


def _version(document: Document | None) -> int:
    """A version as the number that it is with every API server there is; 0 for none."""
    text = _version_text(document)
    return int(text) if text.isascii() and text.isdigit() else 0
