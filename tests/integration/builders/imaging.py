"""A project whose functions become images, an engine and a registry to give them to, and a base that needs no registry."""

from __future__ import annotations

import atexit
import functools
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from penstock.builders import watchdogimage
from penstock.builders.model import BuildRequest
from penstock.stack.model import Position, StackFunction
from penstock.templates.catalogue import find_template
from tests.conftest import debian_path
from tests.engines.engine import Engine
from tests.engines.images import busybox_root
from tests.unit.builders.requests import write


class ImageProject:
    """A current directory with one function `words`, of the template `bash` unless told otherwise."""

    def __init__(self, here: Path, engine: Engine | None = None) -> None:
        """Without an engine none is found, whatever the machine has."""
        self.here = here
        self.builds = here.parent / "builds"
        self.builds.mkdir()
        (self.builds / watchdogimage.FOLDER).symlink_to(_watchdogs())
        config = here.parent / "docker-config"
        config.mkdir()
        self.environ = {
            **os.environ,
            "PATH": debian_path(),
            "DOCKER_HOST": engine.url if engine else f"unix://{here}/nothing.sock",
            "DOCKER_CONFIG": str(config),
            "PENSTOCK_BUILDS": str(self.builds),
        }
        self.told: list[str] = []
        write(here, {"words/handler.sh": "wc -w\n"})

    def request(self, image: str, base: str, lang: str = "bash", **fields: Any) -> BuildRequest:
        function = StackFunction(
            name="words",
            where=Position("stack.yml", 3),
            lang=lang,
            handler="words",
            image=image,
            **fields.pop("of", {}),
        )
        arguments = {"ADDITIONAL_PACKAGE": "", "BASE": base, **fields.pop("arguments", {})}
        chosen = find_template(lang, self.here) if lang != "dockerfile" else None
        return BuildRequest(function=function, template=chosen, image=image, build_args=arguments, **fields)

    def dockerfile(self, text: str) -> None:
        """A Dockerfile of the function's own, for `lang="dockerfile"`."""
        write(self.here, {"words/Dockerfile": text})

    def base_archive(self) -> str:
        """The name of a busybox image in a docker-archive."""
        files = busybox_root().packed()
        config = {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
            "created": "1970-01-01T00:00:00Z",
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "tests"}],
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(files).hexdigest()}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": ["busybox:it"], "Layers": ["layer.tar"]}]
        path = self.here.parent / "base.tar"
        with tarfile.open(path, "w") as archive:
            for name, data in (
                ("config.json", json.dumps(config).encode()),
                ("layer.tar", files),
                ("manifest.json", json.dumps(manifest).encode()),
            ):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
        return f"docker-archive:{path}"


@functools.cache
def _watchdogs() -> Path:
    """Where the tests of this process keep the watchdog's image, which takes seconds to make."""
    folder = Path(tempfile.mkdtemp(prefix="pw-image-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    watchdogimage.provide({"PENSTOCK_BUILDS": str(folder)}, lambda words: None)
    return folder / watchdogimage.FOLDER


def settings(engine: Engine, image: str) -> dict[str, Any]:
    """What an engine says of an image's settings."""
    document: dict[str, Any] = json.loads(engine.docker("image", "inspect", image))[0]["Config"]
    return document


def own_storage(made: ImageProject) -> ImageProject:
    """Keep what buildah makes apart from the machine's own."""
    storage = made.here.parent / "storage.conf"
    root = made.here.parent / "containers"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{root}/graph"\nrunroot = "{root}/run"\n')
    made.environ["CONTAINERS_STORAGE_CONF"] = str(storage)
    return made
