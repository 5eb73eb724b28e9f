"""Where a template repository is: a URL or a path, perhaps with `#ref`, judged before git sees it (contract watchdog-cli §5.3)."""

from __future__ import annotations

import re
import urllib.parse
from pathlib import Path

import msgspec

from penstock.errors import InvalidInput, NotFound
from penstock.templates.read import check_ref

_SCHEMES = ("http", "https", "ssh", "git", "file")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.+)")
_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[^:].*")
"""`git@host:path`, as git knows it."""
_COMMIT = re.compile(r"sha-([0-9a-fA-F]{7,40})")


class Source(msgspec.Struct, frozen=True):
    """A repository and what of it is wanted."""

    url: str
    """As git gets it; never begins with a dash."""
    ref: str = ""
    """Branch, tag or `sha-` and at least seven digits of a commit; empty: what the repository calls its head."""

    @property
    def commit(self) -> str:
        """The digits of a pinned commit; empty when a name is pinned, or nothing."""
        found = _COMMIT.fullmatch(self.ref)
        return found[1].lower() if found else ""

    @property
    def shown(self) -> str:
        """The URL without passwords and tokens, for messages and notes; an ssh user is neither."""
        known = re.sub(r"^(https?://)[^/@]*@", r"\1", self.url, flags=re.IGNORECASE)
        return re.sub(r"^([a-z]+://[^/@:]*):[^/@]*@", r"\1@", known, flags=re.IGNORECASE)


def parse_source(text: str, directory: Path) -> Source:
    """The repository that a user has named; a path begins in `directory`.

    Raises InvalidInput for what is no URL of a known kind, NotFound for a path that is not there.
    """
    if not text or any(not sign.isprintable() for sign in text):
        raise InvalidInput(f"template source: {text!r} is no URL of a git repository")
    if "://" not in text and (directory / text).is_dir():
        return _local(directory / text, "")
    url, _, ref = text.partition("#")
    if ref:
        check_ref(ref)
    if "#" in text and not ref:
        raise InvalidInput(f"template source: {text!r} ends with '#', which a branch, a tag or sha-0123abc must follow")
    found = _URL.fullmatch(url)
    if found and found[1].lower() in _SCHEMES and not _looks_like_an_option(found[2]):
        return Source(url, ref)
    if not found and _SCP.fullmatch(url):
        return Source(url, ref)
    if not found and "::" not in url and (directory / url).is_dir():
        return _local(directory / url, ref)
    if found or "::" in url or url.startswith("-"):
        raise InvalidInput(
            f"template source: {url!r} is no URL of a git repository; use {', '.join(f'{one}://' for one in _SCHEMES)},"
            " git@host:path or a folder"
        )
    raise NotFound(
        f"template source: there is no folder {url!r} in {directory}, and it is no URL (https://…, git@host:path)"
    )


def _looks_like_an_option(behind_the_scheme: str) -> bool:
    """Whether a program such as ssh could take the user or the host for an option."""
    user, _, host = behind_the_scheme.partition("/")[0].rpartition("@")
    return any(urllib.parse.unquote(part).lstrip("[").startswith("-") for part in (user, host))


def _local(folder: Path, ref: str) -> Source:
    """A path as a URL: git then makes a shallow copy of it as of any other."""
    return Source("file://" + urllib.parse.quote(str(folder.resolve())), ref)
