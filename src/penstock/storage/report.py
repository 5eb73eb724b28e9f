"""Says in the log whether the object store answers, and if not, when it does at last. Run beside everything else by `control.process`."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from penstock.errors import PenstockError
from penstock.providers.clock import Clock
from penstock.storage.objects import ObjectStore
from penstock.storagesettings import StorageSettings

AGAIN = 10.0
"""Seconds until a store that did not answer is asked again: its keys and buckets may be made after the gateway."""

_log = logging.getLogger(__name__)


async def report(settings: StorageSettings, environ: Mapping[str, str], clock: Clock) -> None:
    """A line for each fault in turn, the first within seconds, and one when there is none; nothing when storage is off."""
    if not settings.is_on:
        return
    store = ObjectStore(settings, environ)
    said = ""
    while True:
        try:
            await store.probe()
        except PenstockError as error:
            if str(error) != said:
                _log.warning("object storage does not work: %s", error)
            said = str(error)
        else:
            break
        await clock.sleep(AGAIN)
    _log.info("object storage at %s answers, for the buckets %s", store.endpoint, ", ".join(sorted(settings.allowed)))
