"""What a stack file says, once it has been read and judged: plain data, in the order of the file.

Made by `load`; read by `payload` (deployments), `penstock.builders` (images and native builds) and the verbs.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from penstock.model import Resources


class Position(msgspec.Struct, frozen=True):
    """Where something is written: `stack.yml:12`."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class StackFunction(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `functions` (contract watchdog-cli §3.2). Texts are as written; empty or None means not given."""

    name: str
    where: Position
    lang: str = ""
    """Template, perhaps with `@ref`; empty for a function that is not built."""
    lang_line: int = 0
    """On which `lang` is written; 0 where it is not in a file."""
    handler: str = ""
    """Folder with the source, relative to the current directory, not to the file."""
    image: str = ""
    fprocess: str = ""
    environment: dict[str, str] = {}
    """Of `environment` and, over it, of the files in `environment_file`, the later ones winning."""
    environment_files: tuple[Path, ...] = ()
    """Those of `environment_file`."""
    secrets: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    constraints: tuple[str, ...] | None = None
    """None when the key is absent: only then do flags count."""
    limits: Resources = Resources()
    requests: Resources = Resources()
    read_only_root: bool = False
    skip_build: bool = False
    build_options: tuple[str, ...] = ()
    build_args: dict[str, str] = {}
    build_secrets: dict[str, Path] = {}
    """Absolute files by their ids."""
    namespace: str = ""
    platforms: str = ""

    @property
    def lang_where(self) -> Position:
        """Where the template is named."""
        return Position(self.where.file, self.lang_line or self.where.line)


class StackPipeline(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of `pipelines`, which are Penstock's own."""

    name: str
    where: Position
    stages: tuple[str, ...] = ()
    """`NAME[.NAMESPACE][/PATH][?QUERY]` each."""
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class TemplateSource(msgspec.Struct, frozen=True):
    """One entry of `configuration.templates`."""

    name: str
    source: str = ""
    """URL or local path of a git repository, perhaps `#ref`; empty: ask the template store."""


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """A whole stack file."""

    file: str
    """As it was named, for messages: a path or a URL."""
    gateway: str = ""
    functions: tuple[StackFunction, ...] = ()
    pipelines: tuple[StackPipeline, ...] = ()
    templates: tuple[TemplateSource, ...] = ()
    copy: tuple[str, ...] = ()
    """`configuration.copy`: paths that every handler folder gets at its build."""
    warnings: tuple[str, ...] = ()
    """Sentences with a position, such as about unknown keys that others ignore silently."""
