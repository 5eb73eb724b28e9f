"""The image of a bundle alone: one layer with the bundle below /penstock and an empty /tmp for the lock file.

Called by `build`. `tar` writes the layer, `archive` packs it.
"""

from __future__ import annotations

from pathlib import Path

import penstock
from penstock.watchdog.bundle.archive import Image, write_archive
from penstock.watchdog.bundle.tar import Folder, write_layer
from penstock.watchdog.bundle.write import PLACE

TEMPORARY = Folder("tmp", 0o1777)


def image_of(reference: str, machine: str, entrypoint: tuple[str, ...], when: int) -> Image:
    """What the image of a bundle says of itself."""
    return Image(
        reference,
        machine,
        when,
        made_by=f"penstock watchdog bundle {penstock.__version__}",
        labels=labels("Penstock watchdog", "Serves one program over HTTP, in an image of any kind"),
        entrypoint=entrypoint,
        health=(*entrypoint, "--run-healthcheck"),
    )


def labels(title: str, description: str) -> dict[str, str]:
    """What is said of every image of ours (image-spec, annotations)."""
    return {
        "org.opencontainers.image.title": title,
        "org.opencontainers.image.description": description,
        "org.opencontainers.image.version": penstock.__version__,
        "org.opencontainers.image.licenses": "MIT",
    }


def write_image(image: Image, bundle: Path, file: Path) -> None:
    """Write the image with the bundle in that directory as a docker-archive. Raises OSError."""
    layer = file.with_name(f"{file.name}.layer")
    try:
        write_layer(layer, image.when, {PLACE.strip("/"): bundle}, [TEMPORARY])
        write_archive(image, layer, file)
    finally:
        layer.unlink(missing_ok=True)
