"""What a function store says: the JSON of stores that people already have (contract watchdog-cli §5.5), and our keys beside it.

Read by `read`; deployed by `penstock store deploy`.
"""

from __future__ import annotations

import msgspec


class Source(msgspec.Struct, frozen=True):
    """Our key `source`: the function is code, shipped beside the store's file, that is built where it is deployed."""

    lang: str
    """Template."""
    handler: str
    """Folder below the package's `functionstore/source`."""


class StoreFunction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One function of a store. What it does not say is empty."""

    name: str
    title: str = ""
    description: str = ""
    author: str = ""
    icon: str = ""
    fprocess: str = ""
    repo_url: str = msgspec.field(default="", name="repo_url")
    read_only_root_filesystem: bool = False
    environment: dict[str, str] = {}
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    images: dict[str, str] = {}
    """References by platform: `x86_64`, `arm64`, `armhf`."""
    packages: tuple[str, ...] = ()
    """Our key: Debian packages that bring its programs, to this machine or into an image."""
    source: Source | None = None

    def runs_on(self, platform: str) -> bool:
        """Whether it can be had for that platform. What names no image is made of this machine's own programs."""
        return not self.images or any(known.lower() == platform.lower() for known in self.images)


class FunctionStore(msgspec.Struct, frozen=True, kw_only=True):
    """A whole store."""

    functions: tuple[StoreFunction, ...]
    version: str = ""

    def find(self, name: str) -> StoreFunction | None:
        """The function of that name, else of that title."""
        by_name = next((function for function in self.functions if function.name == name), None)
        return by_name or next((function for function in self.functions if function.title == name), None)
