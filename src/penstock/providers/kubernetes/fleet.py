"""All functions of the installation: Deployments, Services and pods as mirrors have them, put together one function at a time.

Made by `composition`. Tells by `published` which function is new, different or gone; what is wrong with an object in the cluster
is told by `drifted`, to whoever may mend it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from penstock.errors import InvalidInput
from penstock.model import Function
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.mirror import Mirror, Place
from penstock.providers.kubernetes.tracked import Tracked, Ways

Document = dict[str, Any]

_log = logging.getLogger(__name__)


class Fleet:
    """The mirrors are followed from the beginning; they are started and closed by their maker."""

    def __init__(self, deployments: Mirror, services: Mirror, pods: Mirror, ways: Ways) -> None:
        self.published: Callable[[str], None] = lambda key: None
        self.drifted: Callable[[str], None] = lambda key: None
        self._deployments, self._services, self._pods, self._ways = deployments, services, pods, ways
        self._tracked: dict[str, Tracked] = {}
        self._of_function: defaultdict[str, set[Place]] = defaultdict(set)
        """Places of pods by their function."""
        self._owner: dict[Place, str] = {}
        """Functions of pods."""
        self._unread: set[str] = set()
        deployments.follow(self._on_object)
        services.follow(self._on_object)
        pods.follow(self._on_pod)

    @property
    def keys(self) -> list[str]:
        return list(self._tracked)

    def find(self, key: str) -> Tracked | None:
        return self._tracked.get(key)

    def view(self, key: str) -> Function | None:
        tracked = self._tracked.get(key)
        return tracked.view() if tracked else None

    def close(self) -> None:
        for tracked in self._tracked.values():
            tracked.close()

    def _on_object(self, place: Place) -> None:
        key = f"{place[1]}.{place[0]}"
        self._look(key)
        self.drifted(key)

    def _on_pod(self, place: Place) -> None:
        pod = self._pods.items.get(place)
        name = ((pod or {}).get("metadata", {}).get("labels") or {}).get(marks.FUNCTION, "")
        key = f"{name}.{place[0]}" if name else ""
        before = self._owner.get(place, "")
        if before and before != key:
            self._of_function[before].discard(place)
            del self._owner[place]
            self._look(before)
        if key:
            self._owner[place] = key
            self._of_function[key].add(place)
            self._look(key)

    def _look(self, key: str) -> None:
        """See a function as it is now, and tell of it."""
        name, _, namespace = key.partition(".")
        place = namespace, name
        deployment = self._deployments.items.get(place)
        if not deployment or "deletionTimestamp" in deployment["metadata"]:
            tracked = self._tracked.pop(key, None)
            if tracked:
                tracked.close()
                self.published(key)
            if not self._of_function.get(key):
                self._of_function.pop(key, None)
            return
        try:
            tracked = self._tracked.get(key)
            if not tracked:
                tracked = Tracked(deployment, self._ways, lambda: self.published(key))
            pods = [self._pods.items[pod] for pod in self._of_function[key] if pod in self._pods.items]
            tracked.see(deployment, pods, self._services.items.get(place))
        except InvalidInput as error:
            if key not in self._unread:
                _log.warning("%s", error)
            self._unread.add(key)
            return
        self._unread.discard(key)
        self._tracked[key] = tracked
        self.published(key)
