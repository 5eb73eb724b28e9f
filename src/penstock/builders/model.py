"""What a build is given and what it gives back, whoever does it. Asked for by the verbs, answered by one file per builder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import msgspec

from penstock.stack.model import StackFunction
from penstock.templates.model import Template

Progress = Callable[[str], None]
"""Told in a few words what a build is at: `installing 3 packages`. Called from any thread."""


class BuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One function that is to be built."""

    function: StackFunction
    template: Template | None
    """None for `lang: dockerfile`, whose handler folder is the context."""
    image: str = ""
    """With its final tag; empty for a native build."""
    copy: tuple[Path, ...] = ()
    """Absolute paths that go into the handler's folder."""
    build_args: dict[str, str] = {}
    """Of the file and, over it, of the flags; with ADDITIONAL_PACKAGE."""
    labels: dict[str, str] = {}
    platforms: tuple[str, ...] = ()
    no_cache: bool = False
    squash: bool = False
    pull: bool = False


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """A build that has ended well."""

    function: str
    image: str = ""
    """Name of the image, when there is one."""
    folder: Path | None = None
    """Of a native build."""
    fprocess: str = ""
    """A native build's program line, which the deployment takes unless the stack file has its own."""
    environment: dict[str, str] = {}
    """What a native build needs in its environment; the stack file's own values win."""
    cached: bool = False
    """Whether nothing had to be done."""
    seconds: float = 0.0


class Builder(Protocol):
    """Turns requests into images or folders. Knows nothing of gateways and prints nothing."""

    name: str
    """`docker`, `buildah`, `image` or `native`."""
    makes_images: bool

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        """Build it, blocking; may be called from several threads for several functions.

        Raises BuildFailed with the compiler's own words; InvalidInput for what the request lacks; NotSupported when this
        builder cannot build that.
        """
        ...

    def cancel(self) -> None:
        """End every program that builds have started, with its children; their `build` raises. Callable from any thread."""
        ...


class ImageBuilder(Builder, Protocol):
    """A builder of images, which can also send them to their registry."""

    def push(self, image: str, progress: Progress) -> None:
        """Send an image that was built here, blocking. Raises BuildFailed, NotFound, NotSupported, Unauthorized."""
        ...


@runtime_checkable
class Archiver(Protocol):
    """A builder that keeps its images itself, and can write them into files."""

    def save(self, image: str, file: Path) -> None:
        """Write an image that was built here as `docker load` reads it; a file of that name is replaced. Raises NotFound, OSError."""
        ...
