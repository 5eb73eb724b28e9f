"""Where we run ourselves: in a container of the engine or beside it, which decides how tasks are reached and whose watchdog
functions get.

Found out once, when the provider starts; handed to those who need to know.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from penstock.providers.containers.engine import Engine
from penstock.providers.containers.own import own_container
from penstock.providers.swarm.endpoints import Way, choose
from penstock.watchdog.bundle.write import MARK, PLACE


@dataclass
class Surroundings:
    """`connect` and `watchdog_image` are as set; the rest is found out by `look`."""

    connect: str
    watchdog_image: str
    way: Way = "port"
    joins: str = ""
    """Our own container, where it is to join the networks of functions."""

    async def look(self, engine: Engine) -> None:
        """Raises ProviderUnavailable, EngineRefused."""
        own = await own_container(engine)
        self.way = choose(self.connect, own is not None)
        if own is None:
            return
        if self.way == "ip":
            self.joins = own["Id"]
        if not self.watchdog_image and (Path(PLACE) / MARK).is_file():
            self.watchdog_image = (own.get("Config") or {}).get("Image", "")
