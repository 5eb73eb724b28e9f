"""Builds that end in a registry: one platform by building and pushing, several by what the builder has for that.

Called by the verb `publish`, as a builder of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast, runtime_checkable

import msgspec

from penstock.builders.model import Builder, BuildRequest, Built, ImageBuilder, Progress
from penstock.errors import NotSupported
from penstock.providers.containers.reference import parse


@runtime_checkable
class ManyPlatforms(Protocol):
    """A builder that can make an image for several platforms, which then exists in the registry alone."""

    def publish(self, request: BuildRequest, names: Sequence[str], progress: Progress) -> None:
        """Build for all platforms of the request and push under each name."""
        ...


class Publisher:
    """See `penstock.builders.model.Builder`."""

    makes_images = True

    def __init__(self, builder: Builder, tags: Sequence[str]) -> None:
        """`tags` are others that each image gets as well."""
        self._builder = cast(ImageBuilder, builder)
        self._tags = tags
        self.name = builder.name

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        """Build and push."""
        name = parse(request.image)
        names = [request.image, *(f"{name.name}:{tag}" for tag in self._tags)]
        if len(request.platforms) > 1:
            if not isinstance(self._builder, ManyPlatforms):
                raise NotSupported(
                    f"--builder {self.name} makes images for one platform; several take --builder docker with buildx, or, for a"
                    " Dockerfile without RUN, --builder image"
                )
            self._builder.publish(request, names, progress)
            return Built(function=request.function.name, image=request.image)
        built = [self._builder.build(msgspec.structs.replace(request, image=each), progress) for each in names]
        for each in names:
            self._builder.push(each, progress)
        return built[0]

    def cancel(self) -> None:
        """See `penstock.builders.model.Builder`."""
        self._builder.cancel()
