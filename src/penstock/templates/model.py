"""What a template is: a folder with `template.yml`, mostly a `Dockerfile`, and the folder that a new function begins with.

Found by `catalogue`; read by `penstock.builders` and by the verbs `new`, `deploy` and `up`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

MANIFESTS = frozenset({"requirements.txt", "package.json", "go.mod", "Gemfile"})
"""Files of a starter that a build cannot do without; where a function has none of its own, the starter's will do."""

Toolchain = Literal["python", "node", "go", "java", "ruby", "php", "bash", "none"]
"""Who turns a handler into something that runs on this machine; `none` copies it."""


class BuildOption(msgspec.Struct, frozen=True):
    """A named set of packages, passed as ADDITIONAL_PACKAGE."""

    name: str
    packages: tuple[str, ...] = ()


class Native(msgspec.Struct, frozen=True, kw_only=True):
    """Our own key `native` of template.yml: how a function of this template runs without a container.

    In `fprocess` and in values of `environment`, `{build}` is the folder of the build, `{function}` its handler's folder,
    `{python}` the interpreter of its virtual environment and `{site}` that environment's site-packages.
    """

    toolchain: Toolchain = "none"
    fprocess: str = ""
    environment: dict[str, str] = {}
    program: str = ""
    """What must be installed to run it, such as `node`; empty: nothing but Penstock."""
    package: str = ""
    """Debian package that brings `program`."""


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A template that has been read (contract watchdog-cli §5.1)."""

    name: str
    """Of its folder; for a pinned one `name@ref`."""
    folder: Path
    language: str = ""
    fprocess: str = ""
    build_options: tuple[BuildOption, ...] = ()
    welcome_message: str = ""
    handler_folder: str = "function"
    mount_ssh: bool = False
    description: str = ""
    """One line, for lists; only ours have it."""
    needs: tuple[str, ...] = ()
    """Our own key: files that a handler's folder must have, as `handler.py` or `*.go`, where `*` stands for anything."""
    native: Native | None = None
    """None: a function of this template needs a container."""
    shipped: bool = False
    """Whether it is one of the package's own."""

    @property
    def dockerfile(self) -> Path:
        return self.folder / "Dockerfile"

    @property
    def starter(self) -> Path:
        """The folder that a new function begins with."""
        return self.folder / self.handler_folder

    @property
    def needs_source(self) -> bool:
        """Whether a function of this template has a folder of its own; that of `cli` is a program which is there already."""
        return self.starter.is_dir()
