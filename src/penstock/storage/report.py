"""Says in the log whether the object store answers, once, when the gateway starts. Run beside everything else by `control.process`."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from penstock.errors import PenstockError
from penstock.storage.objects import ObjectStore
from penstock.storagesettings import StorageSettings

_log = logging.getLogger(__name__)


async def report(settings: StorageSettings, environ: Mapping[str, str]) -> None:
    """One line, within seconds; nothing when storage is off. Raises nothing for a store that does not answer."""
    if not settings.is_on:
        return
    store = ObjectStore(settings, environ)
    try:
        await store.probe()
    except PenstockError as error:
        _log.warning("object storage does not work: %s", error)
    else:
        _log.info(
            "object storage at %s answers, for the buckets %s", store.endpoint, ", ".join(sorted(settings.allowed))
        )
