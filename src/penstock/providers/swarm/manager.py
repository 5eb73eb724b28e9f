"""Whether the engine that we talk to can manage a Swarm, and what to do where it cannot.

Pure. The provider asks at its start and whenever its health is asked for.
"""

from __future__ import annotations

from penstock.errors import ProviderUnavailable
from penstock.providers.containers.engine import Document


def check_manager(info: Document, url: str) -> None:
    """`info` is the engine's `GET /info`. Raises ProviderUnavailable."""
    swarm = info.get("Swarm") or {}
    state = swarm.get("LocalNodeState", "inactive")
    if state == "locked":
        raise ProviderUnavailable(f"the Swarm at {url} is locked: run docker swarm unlock")
    if state in ("pending", "error"):
        raise ProviderUnavailable(f"the Docker Engine at {url} cannot join its Swarm: {swarm.get('Error') or state}")
    if state in ("inactive", ""):
        raise ProviderUnavailable(
            f"the Docker Engine at {url} is not part of a Swarm: run docker swarm init there, or use --provider docker"
        )
    if not swarm.get("ControlAvailable"):
        raise ProviderUnavailable(
            f"the Docker Engine at {url} is a worker of its Swarm, or the Swarm has no leader now: set DOCKER_HOST to a manager's"
        )
    if swarm.get("Error"):
        raise ProviderUnavailable(f"the Swarm at {url} reports: {swarm['Error']}")
