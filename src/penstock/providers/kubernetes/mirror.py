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
from penstock.providers.kubernetes.client.api import Api, Document, Labels
from penstock.providers.kubernetes.client.errors import ApiGone
from penstock.providers.kubernetes.client.kinds import Kind

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
    told: int = 0
    """The version up to which everything was heard."""
    noted: set[Place] = field(default_factory=set)
    """What we have changed since the last list began, which that may not have."""
    forgotten: set[str] = field(default_factory=set)
    """Uids of what we have deleted and not heard the end of: events from before may still come."""


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
        """What a change of our own was answered with, so that it need not wait for the watch. What is older than what was heard
        already is passed over: it may be gone."""
        place = _place(document)
        for part in self._parts.values():
            if part.namespace not in (None, place[0]) or _uid(document) in part.forgotten:
                continue
            if _version(document) > max(_version(self._items.get(place)), part.told):
                part.noted.add(place)
                self._put(part, place, document)

    def forget(self, place: Place, uid: str) -> None:
        """As `note`, for one that was deleted. One that has taken its place since then stays."""
        for part in self._parts.values():
            if place in part.places and _uid(self._items.get(place)) == uid:
                part.forgotten.add(uid)
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
        part.noted.clear()
        part.forgotten.clear()
        listing = await self._api.list(self._kind, part.namespace, self._labels)
        found = {_place(document): document for document in listing.items}
        part.told = int(listing.version) if _is_number(listing.version) else 0
        for place in part.places - found.keys():
            if place not in part.noted or _version(self._items[place]) <= part.told:
                self._drop(part, place)
        for place, document in found.items():
            before = self._items.get(place)
            ours = (place in part.noted and self._is_older(document)) or self._is_forgotten(part, document)
            if not ours and (place not in part.places or _version_text(before) != _version_text(document)):
                self._put(part, place, document)
        part.listed.set()
        return listing.version

    async def _watch(self, part: _Part, version: str) -> str:
        """Until the server ends it; the version to go on from."""
        events = self._api.watch(self._kind, part.namespace, self._labels, version)
        async with contextlib.aclosing(events) as stream:
            async for event in stream:
                version = _version_text(event.document) or version
                part.told = _version(event.document) or part.told
                if event.type == "DELETED":
                    self._ended(part, event.document)
                elif event.type in ("ADDED", "MODIFIED"):
                    self._told(part, event.document)
        return version

    def _told(self, part: _Part, document: Document) -> None:
        if not self._is_older(document) and not self._is_forgotten(part, document):
            told = {"apiVersion": self._kind.api_version, "kind": self._kind.name, **document}
            self._put(part, _place(document), told)

    def _ended(self, part: _Part, document: Document) -> None:
        place, uid = _place(document), _uid(document)
        part.forgotten.discard(uid)
        if uid == _uid(self._items.get(place)) or not self._is_older(document):
            self._drop(part, place)

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

    def _is_forgotten(self, part: _Part, document: Document) -> bool:
        """Whether we have deleted it, and this is from before. What has to wait for others to let it end is told as leaving."""
        return _uid(document) in part.forgotten and "deletionTimestamp" not in document["metadata"]

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
    return int(text) if _is_number(text) else 0


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdigit()


def _uid(document: Document | None) -> str:
    return str(((document or {}).get("metadata") or {}).get("uid", ""))
