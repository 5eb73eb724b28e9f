"""An API server in memory: objects with versions and refusals like the real one's; pods are the test's to run.

It stands in for `penstock.providers.kubernetes.client.api.Api`.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncGenerator, Mapping
from typing import Any, cast

from penstock.providers.kubernetes.client.api import Api, Listing, WatchEvent
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiForbidden, ApiInvalid, ApiNotFound
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, NAMESPACE, POD, Kind

Document = dict[str, Any]
CREATED = "2026-01-01T00:00:00Z"


class FakeCluster:
    """Reached without HTTP; `asked` keeps verb, kind and name of every change that was asked for."""

    def __init__(self) -> None:
        self.url = "https://cluster.example.org"
        self.kept: dict[tuple[str, str, str], Document] = {}
        """By plural of the kind, namespace and name."""
        self.asked: list[tuple[str, str, str]] = []
        self.forbidden: set[tuple[str, str]] = set()
        """Verb and plural of what is not allowed."""
        self.refused: set[str] = set()
        """Plurals of what cannot be applied, whatever it is."""
        self.logs: dict[str, list[bytes]] = {}
        """Lines of pods, with their times."""
        self.held: asyncio.Event | None = None
        """Until it is set, nothing but Deployments is applied."""
        self.closed = False
        self.looks = 0
        """How often somebody asked whether a kind may be seen."""
        self._numbers = itertools.count(1)
        self._watches: list[tuple[Kind, str | None, Mapping[str, str], asyncio.Queue[WatchEvent]]] = []
        self.put(NAMESPACE, {"metadata": {"name": "openfaas-fn", "annotations": {"openfaas": "1"}}})

    @property
    def api(self) -> Api:
        return cast(Api, self)

    # What a test does

    def put(self, kind: Kind, document: Document) -> Document:
        """Make an object what somebody says, and tell those who watch."""
        document = copy.deepcopy(document)
        metadata = document["metadata"]
        place = (kind.plural, metadata.get("namespace", ""), metadata["name"])
        before = self.kept.get(place)
        number = str(next(self._numbers))
        metadata["resourceVersion"] = number
        metadata.setdefault("uid", before["metadata"]["uid"] if before else f"uid-{number}")
        metadata.setdefault("creationTimestamp", CREATED)
        self.kept[place] = document
        self._tell(kind, "MODIFIED" if before else "ADDED", document)
        return copy.deepcopy(document)

    def drop(self, kind: Kind, name: str, namespace: str = "openfaas-fn") -> None:
        document = self.kept.pop((kind.plural, namespace, name))
        document["metadata"]["resourceVersion"] = str(next(self._numbers))
        self._tell(kind, "DELETED", document)

    def find(self, kind: Kind, name: str, namespace: str = "openfaas-fn") -> Document | None:
        return self.kept.get((kind.plural, namespace, name))

    def run(self, name: str, number: int = 0, ready: bool = True, **fields: Any) -> Document:
        """Give a Deployment a pod that runs; `fields` go into its metadata."""
        template = cast(Document, self.find(DEPLOYMENT, name))["spec"]["template"]
        running = {"running": {"startedAt": CREATED}}
        status = {
            "phase": "Running",
            "podIP": f"10.0.0.{number + 1}",
            "conditions": [{"type": "Ready", "status": str(ready)}],
            "containerStatuses": [{"name": "function", "ready": ready, "restartCount": 0, "state": running}],
        }
        metadata = {**template["metadata"], "name": f"{name}-{number}", "namespace": "openfaas-fn", **fields}
        return self.put(POD, {"metadata": metadata, "spec": template["spec"], "status": status})

    # What the provider asks

    async def open(self) -> str:
        return "v1.30.1"

    async def close(self) -> None:
        self.closed = True

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Document:
        self._allow("get", kind)
        return copy.deepcopy(self._known(kind, name, namespace))

    async def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | str = "") -> Listing:
        self._allow("list", kind)
        wanted = labels if isinstance(labels, Mapping) else {}
        found = [
            copy.deepcopy(document)
            for (plural, among, _), document in self.kept.items()
            if plural == kind.plural and namespace in (None, among) and _has(document, wanted)
        ]
        return Listing(found, str(next(self._numbers)))

    async def look(self, kind: Kind, namespace: str | None = None) -> None:
        self.looks += 1
        self._allow("list", kind)

    async def create(self, kind: Kind, document: Document) -> Document:
        self._ask("create", kind, document["metadata"]["name"])
        metadata = document["metadata"]
        if (kind.plural, metadata.get("namespace", ""), metadata["name"]) in self.kept:
            raise ApiConflict(f"{kind.plural} {metadata['name']} already exists", 409)
        return self.put(kind, document)

    async def apply(self, kind: Kind, document: Document, force: bool = True, manager: str = "penstock") -> Document:
        metadata = document["metadata"]
        if self.held and kind is not DEPLOYMENT:
            await self.held.wait()
        self._ask("apply", kind, metadata["name"])
        if kind.plural in self.refused:
            raise ApiInvalid(f"{kind.plural} are refused", 400)
        before = self.find(kind, metadata["name"], metadata.get("namespace", ""))
        if metadata.get("uid") and not before:
            raise ApiConflict("uid mismatch: the provided object specified uid, and no existing object was found", 409)
        if before and metadata.get("uid", before["metadata"]["uid"]) != before["metadata"]["uid"]:
            raise ApiInvalid("metadata.uid: field is immutable", 422)
        # As of 1.20: where nothing is, a version is no condition.
        if (
            before
            and metadata.get("resourceVersion", before["metadata"]["resourceVersion"])
            != before["metadata"]["resourceVersion"]
        ):
            raise ApiConflict("the object has been modified", 409)
        kept = {name: before["metadata"][name] for name in ("uid", "creationTimestamp")} if before else {}
        return self.put(kind, {**document, "metadata": {**metadata, **kept}})

    async def replace(self, kind: Kind, document: Document) -> Document:
        metadata = document["metadata"]
        self._ask("replace", kind, metadata["name"])
        live = self._known(kind, metadata["name"], metadata.get("namespace", ""))
        if metadata.get("resourceVersion", live["metadata"]["resourceVersion"]) != live["metadata"]["resourceVersion"]:
            raise ApiConflict("the object has been modified", 409)
        return self.put(kind, document)

    async def merge(self, kind: Kind, name: str, namespace: str, patch: Document, subresource: str = "") -> Document:
        self._ask("merge", kind, name)
        return self.put(kind, _merged(self._known(kind, name, namespace), patch))

    async def delete(
        self, kind: Kind, name: str, namespace: str = "", propagation: str = "Background", uid: str = ""
    ) -> None:
        self._ask("delete", kind, name)
        live = self._known(kind, name, namespace)
        if uid and uid != live["metadata"]["uid"]:
            raise ApiConflict("the UID in the precondition does not match", 409)
        self.drop(kind, name, namespace)

    async def scale(self, name: str, namespace: str, replicas: int) -> Document:
        self._ask("scale", DEPLOYMENT, name)
        return self.put(DEPLOYMENT, _merged(self._known(DEPLOYMENT, name, namespace), {"spec": {"replicas": replicas}}))

    async def watch(
        self, kind: Kind, namespace: str | None, labels: Mapping[str, str] | str, version: str
    ) -> AsyncGenerator[WatchEvent, None]:
        self._allow("watch", kind)
        events: asyncio.Queue[WatchEvent] = asyncio.Queue()
        for (plural, among, _), document in self.kept.items():
            newer = int(document["metadata"]["resourceVersion"]) > int(version)
            if plural == kind.plural and namespace in (None, among) and newer:
                events.put_nowait(WatchEvent("MODIFIED", copy.deepcopy(document)))
        watch = (kind, namespace, labels if isinstance(labels, Mapping) else {}, events)
        self._watches.append(watch)
        try:
            while True:
                yield await events.get()
        finally:
            self._watches.remove(watch)

    async def log_lines(
        self,
        pod: str,
        namespace: str,
        container: str,
        *,
        follow: bool = False,
        tail: int = -1,
        since: str = "",
    ) -> AsyncGenerator[bytes, None]:
        self._allow("get", POD)
        if pod not in self.logs:
            raise ApiNotFound(f"pods {pod} not found", 404)
        lines = self.logs[pod]
        for line in lines if tail < 0 else lines[-tail:] if tail else []:
            yield line

    # Steps

    def _known(self, kind: Kind, name: str, namespace: str) -> Document:
        found = self.find(kind, name, namespace)
        if found is None:
            raise ApiNotFound(f"{kind.plural} {name} not found", 404)
        return found

    def _ask(self, verb: str, kind: Kind, name: str) -> None:
        self._allow(verb, kind)
        self.asked.append((verb, kind.plural, name))

    def _allow(self, verb: str, kind: Kind) -> None:
        if (verb, kind.plural) in self.forbidden:
            raise ApiForbidden(f"the API server does not allow the gateway to do that: {verb} {kind.plural}", 403)

    def _tell(self, kind: Kind, what: str, document: Document) -> None:
        namespace = document["metadata"].get("namespace", "")
        for watched, among, labels, events in self._watches:
            if watched is kind and among in (None, namespace) and _has(document, labels):
                events.put_nowait(WatchEvent(what, copy.deepcopy(document)))


def _has(document: Document, labels: Mapping[str, str]) -> bool:
    found = document["metadata"].get("labels") or {}
    return all(found.get(name) == value for name, value in labels.items())


def _merged(live: Document, patch: Document) -> Document:
    """As a JSON merge patch (RFC 7396) makes it."""
    result = copy.deepcopy(live)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _merged(result.get(name) or {}, value)
        else:
            result[name] = value
    return result
