"""Makes a Deployment in the cluster what is wanted, whatever it was before.

Called by the provider. Server-side apply does nearly all of it; what it cannot do is here: keep a number of replicas that nobody says
any more, and remove what old API servers leave half-removed, such as a probe without a question.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from penstock.providers.kubernetes.api import Api
from penstock.providers.kubernetes.apierrors import ApiConflict, ApiInvalid
from penstock.providers.kubernetes.kinds import DEPLOYMENT
from penstock.providers.kubernetes.manifests import HANDOVER, Document, handover

_UNPROCESSABLE = 422

_log = logging.getLogger(__name__)


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
        fresh = await api.get(DEPLOYMENT, name, namespace)
        if fresh["metadata"]["uid"] != uid:
            raise ApiConflict(f"Deployment {namespace}/{name} was deployed anew meanwhile", 409) from error
        _log.debug("a Deployment is written as a whole, its parts cannot be: %s", error)
    await api.merge(DEPLOYMENT, name, namespace, {"spec": replacing(fresh["spec"], wanted["spec"])})
    return await api.apply(DEPLOYMENT, pinned)


def replacing(live: Mapping[str, Any], wanted: Mapping[str, Any], top: bool = True) -> Document:
    """The merge patch that makes one mapping the other, but for replicas that are not said; null removes."""
    patch: Document = {name: None for name in live if name not in wanted and not (top and name == "replicas")}
    for name, value in wanted.items():
        inner = live.get(name)
        if isinstance(value, Mapping) and isinstance(inner, Mapping):
            value = replacing(inner, value, top=False)
        patch[name] = value
    return patch
