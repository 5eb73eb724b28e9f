"""Which build arguments a Dockerfile takes. A name that it does not take changes nothing, and is mostly mistyped.

Asked by the builders of images, which find out by a look at the text: what they cannot read, their engines may.
"""

from __future__ import annotations

import re

from penstock.builders.model import BuildRequest, Progress
from penstock.builders.plan import PACKAGES

_CONTINUED = re.compile(r"[\\`][ \t]*\n(?:[ \t]*#[^\n]*\n)*")
_ALWAYS_THERE = re.compile(
    r"(?:https?|ftp|no|all)_proxy|(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT|STAGE)|BUILDKIT_\w+|SOURCE_DATE_EPOCH",
    re.IGNORECASE,
)
"""What builds take without ARG (Dockerfile reference, Predefined ARGs)."""


def takes(dockerfile: str, name: str) -> bool:
    """Whether an ARG has the name."""
    line = rf"^[ \t]*(?i:ARG)[ \t]+(?:[^\n]*[ \t])?{re.escape(name)}(?:[=\s]|$)"
    return re.search(line, _CONTINUED.sub(" ", dockerfile.replace("\r\n", "\n")), re.MULTILINE) is not None


def tell_of_unknown(request: BuildRequest, dockerfile: str, progress: Progress) -> None:
    """Tell of arguments that were given and are not taken."""
    for name in sorted(request.build_args):
        if name != PACKAGES and not _ALWAYS_THERE.fullmatch(name) and not takes(dockerfile, name):
            progress(f"Warning: the build argument {name} changes nothing, for the Dockerfile has no ARG of that name")
