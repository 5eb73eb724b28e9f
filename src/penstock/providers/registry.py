"""Providers by name. Each is imported when it is chosen, so that nobody pays for those that are not.

The control process calls `create_provider`; adding a provider is one file and one line here.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from penstock.errors import SettingsError
from penstock.providers.base import Provider
from penstock.settings import ServeSettings

Create = Callable[[ServeSettings, Mapping[str, str]], Provider]


class Place(NamedTuple):
    """Where a provider is made, and the extra that brings what it imports."""

    module: str
    attribute: str
    extra: str = ""


PLACES = {
    "process": Place("penstock.providers.runtimes.process", "create_process_provider"),
    "memory": Place("penstock.providers.memory", "create_memory_provider"),
    "docker": Place("penstock.providers.runtimes.docker", "create_docker_provider", "docker"),
    "swarm": Place("penstock.providers.swarm.provider", "create_swarm_provider", "docker"),
    "kubernetes": Place("penstock.providers.kubernetes.provider", "create_kubernetes_provider", "kubernetes"),
}


def create_provider(
    settings: ServeSettings, environ: Mapping[str, str] = os.environ, places: Mapping[str, Place] = PLACES
) -> Provider:
    """The provider that the settings name, not started. Raises SettingsError for a name that is unknown, a module of ours
    that is missing and an extra that is not installed, each with what to do about it."""
    place = places.get(settings.provider)
    if not place:
        raise SettingsError(f"provider: {settings.provider!r} is unknown, use {' or '.join(sorted(places))}")
    try:
        module = importlib.import_module(place.module)
    except ModuleNotFoundError as error:
        if error.name and (place.module == error.name or place.module.startswith(error.name + ".")):
            raise SettingsError(
                f"provider {settings.provider!r} is not part of this installation ({place.module} is missing); "
                "install penstock again"
            ) from error
        install = f"pip install 'penstock[{place.extra}]'" if place.extra else f"pip install {error.name}"
        raise SettingsError(
            f"provider {settings.provider!r} needs {error.name}, which is not installed: {install}"
        ) from error
    return cast(Create, getattr(module, place.attribute))(settings, environ)
