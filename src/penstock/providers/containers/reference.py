"""References to images, such as `nginx`, `ghcr.io/openfaas/figlet:latest` or `localhost:5000/echo@sha256:…`, and their parts.

Whoever takes the name of an image from outside passes it through `parse` first; everything behind may then put it in a path of
the engine's API or in a log line. The grammar is that of Docker (distribution/reference); images cannot be named by their id.
"""

from __future__ import annotations

import re

import msgspec

from penstock.errors import InvalidInput

HUB = "docker.io"
"""The registry of names that give none."""
LONGEST_NAME = 255
"""Characters of registry and repository together, as Docker has it."""

_HUB_ALIASES = frozenset({"index.docker.io", "registry-1.docker.io"})
_OFFICIAL = "library/"
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_REGISTRY = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?", re.ASCII)
_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}", re.ASCII)
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{64}", re.ASCII)
_SHOWN = 200


class Reference(msgspec.Struct, frozen=True):
    """An image by name. With a digest the tag is only told to readers."""

    registry: str
    """`docker.io` or `host[:port]`."""
    repository: str
    """Below the registry: `library/nginx`."""
    tag: str
    """Empty when there is a digest and no tag was given."""
    digest: str = ""

    @property
    def name(self) -> str:
        """As people write it, without tag and digest: `nginx`, `ghcr.io/openfaas/figlet`."""
        if self.registry != HUB:
            return f"{self.registry}/{self.repository}"
        return self.repository.removeprefix(_OFFICIAL)

    @property
    def version(self) -> str:
        """What the engine calls the tag of a pull: the digest, or else the tag."""
        return self.digest or self.tag

    @property
    def exact(self) -> str:
        """By which the engine finds the image: `nginx:latest` or `nginx@sha256:…`."""
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}@{self.digest}" if self.digest else f"{self.name}{tag}"


def parse(text: str) -> Reference:
    """The parts of a reference, with Docker's defaults. Raises InvalidInput."""
    if not text:
        raise InvalidInput("image: is required, name an image such as nginx:1.27 or ghcr.io/owner/name:tag")
    if _ID.fullmatch(text):
        raise InvalidInput(
            f"image: ({text!r}) is an image's id; give the image a name (docker tag ID NAME) and use that"
        )
    named, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise _invalid(text, "a digest must be sha256: and 64 hexadecimal digits")
    path, colon, tag = _split_tag(named)
    if colon and not _TAG.fullmatch(tag):
        raise _invalid(text, "a tag has at most 128 letters, digits, dots, dashes and underscores")
    registry, repository = _split_registry(path)
    if not _REGISTRY.fullmatch(registry) or not _port_fits(registry):
        raise _invalid(text, f"{registry[:_SHOWN]!r} cannot be a registry, which is host or host:port")
    if len(path) > LONGEST_NAME:
        raise _invalid(text, f"a name has at most {LONGEST_NAME} characters")
    if not all(_PART.fullmatch(part) for part in repository.split("/")):
        raise _invalid(
            text, "a name consists of lower-case letters, digits and single separators, such as owner/name:tag"
        )
    return Reference(registry, repository, tag or ("" if digest else "latest"), digest)


def _split_tag(named: str) -> tuple[str, str, str]:
    """Path, colon and tag; the colon of a registry's port is not that of a tag."""
    head, slash, last = named.rpartition("/")
    name, colon, tag = last.partition(":")
    return head + slash + name, colon, tag


def _split_registry(path: str) -> tuple[str, str]:
    first, slash, rest = path.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first.lower() != first):
        first, rest = HUB, path
    if first in _HUB_ALIASES:
        first = HUB
    return first, rest if first != HUB or "/" in rest else f"{_OFFICIAL}{rest}"


def _port_fits(registry: str) -> bool:
    _, colon, port = registry.partition(":")
    return not colon or 0 < int(port) < 1 << 16


def _invalid(text: str, why: str) -> InvalidInput:
    return InvalidInput(f"image: ({text[:_SHOWN]!r}) cannot name an image: {why}")
