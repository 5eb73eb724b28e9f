"""Makes images present on an engine: looked up, or pulled by the policy, with progress and failures in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from penstock.errors import PenstockError
from penstock.providers.containers.engine import Engine
from penstock.providers.containers.plan import ImageFacts

PullPolicy = Literal["missing", "always", "never"]


class ImageUnavailable(PenstockError):
    """An image cannot be had; the message says which, from where, why and what to do."""


class Images:
    """The images of one engine. `environ` is the server's: HOME and DOCKER_CONFIG say where credentials are kept."""

    def __init__(self, engine: Engine, policy: PullPolicy, environ: Mapping[str, str]) -> None:
        self._engine = engine
        self._policy = policy
        self._environ = environ

    async def ensure(self, reference: str, progress: Callable[[str], None]) -> ImageFacts:
        """The facts of an image that is present when this returns. Raises ImageUnavailable, ProviderUnavailable, InvalidInput."""
        raise ImageUnavailable(f"image: {reference}: pulling is not written yet")

    async def facts(self, reference: str) -> ImageFacts | None:
        """Of an image that is present, else None. Raises ProviderUnavailable, InvalidInput."""
        raise ImageUnavailable(f"image: {reference}: looking up is not written yet")

    async def auth_for(self, reference: str) -> str:
        """X-Registry-Auth for the registry of an image; empty when nothing is known for it."""
        raise ImageUnavailable(f"image: {reference}: credentials are not written yet")
