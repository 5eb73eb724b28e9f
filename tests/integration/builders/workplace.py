"""A project folder with a template and a handler, and a native builder that keeps its builds beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from penstock.builders.model import BuildRequest, Built
from penstock.builders.native.builder import NativeBuilder
from penstock.templates.model import Native, Template, Toolchain
from tests.conftest import debian_path
from tests.unit.builders.requests import request, template, write


class Workplace:
    """One function `fn`, its handler in ./fn, its template in ./template/t."""

    def __init__(self, here: Path, toolchain: Toolchain = "none", **native: Any) -> None:
        self.here = here
        self.builds = here.parent / "builds"
        self.environ = {**os.environ, "PATH": debian_path()}
        self.template: Template = template(
            write(here / "template/t", {"template.yml": "language: t\n"}),
            Native(toolchain=toolchain, **native),
        )
        self.told: list[str] = []

    def handler(self, files: dict[str, str]) -> None:
        write(self.here / "fn", files)

    def beside(self, files: dict[str, str]) -> None:
        """Files of the template."""
        write(self.template.folder, files)

    def builder(self) -> NativeBuilder:
        return NativeBuilder(self.environ, self.builds)

    def request(self, **fields: Any) -> BuildRequest:
        return request(self.template, **fields)

    def build(self, progress: Callable[[str], None] | None = None, **fields: Any) -> Built:
        return self.builder().build(self.request(**fields), progress or self.told.append)

    def left(self) -> set[str]:
        """Names of the folders that there are of the function, incomplete ones too."""
        parent = self.builds / "fn"
        return {path.name for path in parent.iterdir() if path.is_dir()} if parent.is_dir() else set()
