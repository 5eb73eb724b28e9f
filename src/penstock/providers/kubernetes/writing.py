"""Makes objects in the cluster what is wanted, but none anew that others have removed meanwhile.

Called by the provider. Server-side apply does nearly all of it; what it cannot do is here: keep a number of replicas that nobody says
any more, and remove what old API servers leave half-removed, such as a probe without a question.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiInvalid, ApiNotFound
from penstock.providers.kubernetes.client.kinds import DEPLOYMENT, Kind
from penstock.providers.kubernetes.manifests import HANDOVER, Document, handover

_UNPROCESSABLE = 422

_log = logging.getLogger(__name__)


async def apply_over(api: Api, kind: Kind, uid: str, document: Document) -> Document:
    """Apply over the object of that uid. Raises ApiConflict when it is gone or another one."""
    try:
        return await api.apply(kind, {**document, "metadata": {**document["metadata"], "uid": uid}})
    except ApiInvalid as error:
        await _still(api, kind, uid, document, error)
        raise


async def write_deployment(api: Api, live: Document | None, wanted: Document, version: str = "") -> Document:
    """Apply it over what is there, which must be ours; None where nothing is. With a `version`, only over that one.

    Raises ApiConflict when what was there is gone, is another one or of another version, and what else the API raises. The uid is what
    keeps it from being made anew: a version does not, an API server takes it as no more than a wish where there is nothing.
    """
    if not live:
        return await api.apply(DEPLOYMENT, wanted)
    uid, name, namespace = live["metadata"]["uid"], wanted["metadata"]["name"], wanted["metadata"]["namespace"]
    pinned = {**wanted, "metadata": {**wanted["metadata"], "uid": uid}}
    if kept := handover(live, wanted):
        await api.apply(DEPLOYMENT, {**kept, "metadata": {**kept["metadata"], "uid": uid}}, manager=HANDOVER)
    first = {**pinned, "metadata": {**pinned["metadata"], "resourceVersion": version}} if version else pinned
    try:
        return await api.apply(DEPLOYMENT, first)
    except ApiInvalid as error:
        if error.code != _UNPROCESSABLE:
            raise
        fresh = await _still(api, DEPLOYMENT, uid, wanted, error)
        _log.debug("a Deployment is written as a whole, its parts cannot be: %s", error)
    await api.merge(DEPLOYMENT, name, namespace, {"spec": replacing(fresh["spec"], wanted["spec"])})
    return await api.apply(DEPLOYMENT, pinned)


async def _still(api: Api, kind: Kind, uid: str, document: Document, error: ApiInvalid) -> Document:
    """The object of that uid, over which something could not be applied. Raises ApiConflict where it is gone or another one."""
    name, namespace = document["metadata"]["name"], document["metadata"]["namespace"]
    try:
        live = await api.get(kind, name, namespace)
    except ApiNotFound as gone:
        raise ApiConflict(f"{kind.name} {namespace}/{name} was removed meanwhile", 409) from gone
    if live["metadata"]["uid"] != uid:
        raise ApiConflict(f"{kind.name} {namespace}/{name} was deployed anew meanwhile", 409) from error
    return live


def replacing(live: Mapping[str, Any], wanted: Mapping[str, Any], top: bool = True) -> Document:
    """The merge patch that makes one mapping the other, but for replicas that are not said; null removes."""
    patch: Document = {name: None for name in live if name not in wanted and not (top and name == "replicas")}
    for name, value in wanted.items():
        inner = live.get(name)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = replacing(inner, value, top=False)
        patch[name] = value
    return patch
