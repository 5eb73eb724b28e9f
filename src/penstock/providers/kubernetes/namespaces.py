"""Namespaces with functions: those of the cluster that carry the annotation `openfaas: "1"`, or those that settings name.

Called by the provider. Where settings name them, the gateway need not see the cluster: each is looked at by itself, if that is
allowed at all, and none is made or removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from penstock.errors import AlreadyExists, InvalidInput, NamespaceNotFound
from penstock.model import DEFAULT_NAMESPACE, Namespace
from penstock.providers.clock import Clock
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiForbidden, ApiNotFound, ApiRefused
from penstock.providers.kubernetes.client.kinds import NAMESPACE
from penstock.providers.kubernetes.mirror import Mirror

Document = dict[str, Any]

MARK, MARKED = "openfaas", "1"
"""Annotation of a namespace with functions (contract gateway §13.47)."""
_OWN_LABELS = (marks.MANAGED_BY, marks.INSTALLATION, "kubernetes.io/metadata.name")
_OWN_ANNOTATIONS = (MARK, "kubectl.kubernetes.io/last-applied-configuration")

_ENDING = "because it is being terminated"
"""What an API server says of a namespace in which nothing new can be made."""

_log = logging.getLogger(__name__)


class Namespaces:
    """`fixed`: those that settings name; none is the whole cluster."""

    def __init__(self, api: Api, installation: str, fixed: Sequence[str], clock: Clock) -> None:
        self.fixed = tuple(fixed)
        self._api, self._installation = api, installation
        self._mirror = None if fixed else Mirror(api, NAMESPACE, "", clock)
        self._looked_at: dict[str, Namespace] = {name: Namespace(name=name) for name in fixed}
        self._refused = False

    async def start(self) -> None:
        """Find out what there is. Without the right to make the default namespace, it must be there."""
        if not self._mirror:
            await self.load()
            return
        self._mirror.start()
        await self._mirror.synced()
        if ("", DEFAULT_NAMESPACE) not in self._mirror.items:
            try:
                await self._make(Namespace(name=DEFAULT_NAMESPACE))
            except ApiConflict:
                _log.debug("namespace %s was made by another gateway", DEFAULT_NAMESPACE)
            except ApiRefused as error:
                _log.warning("namespace %s for functions is missing and cannot be made: %s", DEFAULT_NAMESPACE, error)

    async def provide(self, name: str) -> None:
        """Make the namespace of the gateway's own objects where there is none, which is not one of functions."""
        if not self._mirror or ("", name) in self._mirror.items:
            return
        metadata = {"name": name, "labels": marks.owner(self._installation)}
        try:
            self._note(await self._create(metadata))
        except ApiConflict:
            _log.debug("namespace %s was made by another gateway", name)
        except ApiRefused as error:
            _log.warning("namespace %s for the gateway's lease is missing and cannot be made: %s", name, error)

    async def close(self) -> None:
        if self._mirror:
            await self._mirror.close()

    async def load(self) -> None:
        """Look at those that settings name."""
        for name, found in zip(self.fixed, await asyncio.gather(*map(self._look, self.fixed)), strict=True):
            self._looked_at[name] = found

    def all(self) -> list[Namespace]:
        """The default one first, then the others by name."""
        known = self._known()
        others = sorted(name for name in known if name != DEFAULT_NAMESPACE)
        default = [known[DEFAULT_NAMESPACE]] if DEFAULT_NAMESPACE in known else []
        return [*default, *(known[name] for name in others)]

    @property
    def behind(self) -> str:
        """Why they are not those that the cluster has now; empty when they are."""
        return self._mirror.behind if self._mirror else ""

    async def require(self, name: str) -> None:
        """Raises NamespaceNotFound."""
        if name in self._known():
            return
        document = self._mirror.items.get(("", name)) if self._mirror else None
        if document and _is_leaving(document):
            raise NamespaceNotFound(f"namespace {name} is being deleted")
        if document:
            raise NamespaceNotFound(
                f"namespace {name} is not one for functions; mark it: kubectl annotate namespace {name} {MARK}={MARKED}"
            )
        if self.fixed:
            raise NamespaceNotFound(f"namespace {name} not found; this gateway has {', '.join(self.fixed)}")
        raise NamespaceNotFound(f"namespace {name} not found")

    async def create(self, namespace: Namespace) -> None:
        """Raises AlreadyExists, InvalidInput."""
        self._refuse("made")
        try:
            await self._make(namespace)
        except ApiConflict as error:
            live = self._mirror.items.get(("", namespace.name)) if self._mirror else None
            if live and _is_leaving(live):
                raise AlreadyExists(
                    f"namespace {namespace.name} is being deleted, and can be made when it is gone"
                ) from error
            raise AlreadyExists(f"namespace {namespace.name} already exists") from error

    async def update(self, namespace: Namespace) -> None:
        """Replace labels and annotations that are not the cluster's or ours. Raises NamespaceNotFound, InvalidInput."""
        self._refuse("changed")
        await self.require(namespace.name)
        live = await self._api.get(NAMESPACE, namespace.name)
        metadata = live["metadata"]
        kept_labels = _kept(metadata.get("labels"), _OWN_LABELS)
        kept = _kept(metadata.get("annotations"), _OWN_ANNOTATIONS)
        metadata = {
            **metadata,
            "labels": {**namespace.labels, **kept_labels},
            "annotations": {**namespace.annotations, **kept, MARK: MARKED},
        }
        self._note(await self._api.replace(NAMESPACE, {**live, "metadata": metadata}))

    async def delete(self, name: str) -> None:
        """The caller has seen that it is empty. Raises NamespaceNotFound, InvalidInput."""
        self._refuse("removed")
        await self.require(name)
        document = self._mirror.items.get(("", name)) if self._mirror else None
        uid = document["metadata"]["uid"] if document else ""
        try:
            await self._api.delete(NAMESPACE, name, uid=uid)
        except (ApiNotFound, ApiConflict) as error:
            raise NamespaceNotFound(f"namespace {name} not found: {error}") from error
        if self._mirror:
            self._mirror.forget(("", name), uid)

    def _refuse(self, what: str) -> None:
        if self.fixed:
            raise InvalidInput(
                f"namespace: none is {what} here, the gateway was given {', '.join(self.fixed)} "
                "(PENSTOCK_KUBERNETES_NAMESPACES) and sees no others"
            )

    def _known(self) -> Mapping[str, Namespace]:
        if not self._mirror:
            return self._looked_at
        return {
            name: _namespace_of(document)
            for (_, name), document in self._mirror.items.items()
            if _has_functions(document) and not _is_leaving(document)
        }

    async def _make(self, namespace: Namespace) -> None:
        metadata = {
            "name": namespace.name,
            "labels": {**namespace.labels, **marks.owner(self._installation)},
            "annotations": {**namespace.annotations, MARK: MARKED},
        }
        self._note(await self._create(metadata))

    async def _create(self, metadata: Document) -> Document:
        return await self._api.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def _note(self, document: Document) -> None:
        if self._mirror:
            self._mirror.note(document)

    async def _look(self, name: str) -> Namespace:
        try:
            return _namespace_of(await self._api.get(NAMESPACE, name))
        except ApiForbidden as error:
            if not self._refused:
                _log.info("labels of namespaces are not told: %s", error)
            self._refused = True
            return Namespace(name=name)
        except ApiNotFound:
            _log.warning("namespace %s, which settings name, does not exist", name)
            return Namespace(name=name)


@contextlib.contextmanager
def making_in(namespace: str) -> Iterator[None]:
    """An object is made in a namespace that nobody may have looked at: say it of that when it is gone, or going."""
    try:
        yield
    except ApiNotFound as error:
        raise NamespaceNotFound(f"namespace {namespace} not found") from error
    except ApiForbidden as error:
        if _ENDING not in str(error):
            raise
        raise NamespaceNotFound(f"namespace {namespace} is being deleted") from error


def _has_functions(document: Document) -> bool:
    metadata = document["metadata"]
    return (metadata.get("annotations") or {}).get(MARK) == MARKED or metadata["name"] == DEFAULT_NAMESPACE


def _is_leaving(document: Document) -> bool:
    return "deletionTimestamp" in document["metadata"]


def _namespace_of(document: Document) -> Namespace:
    metadata = document["metadata"]
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    return Namespace(
        name=metadata["name"],
        labels={name: value for name, value in labels.items() if name not in _OWN_LABELS},
        annotations={name: value for name, value in annotations.items() if name not in _OWN_ANNOTATIONS},
    )


def _kept(values: Mapping[str, str] | None, own: Sequence[str]) -> dict[str, str]:
    return {name: value for name, value in (values or {}).items() if name in own}
