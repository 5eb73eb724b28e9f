"""Go: the program in the build's folder becomes `handler` there. Modules come from go's own cache, or from where it is told to."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.builders.native.work import Places, Work, find_tool, identity_of
from penstock.errors import BuildFailed

BINARY = "handler"
"""Name of the program in the build's folder."""


def identity(environ: Mapping[str, str]) -> str:
    """The compiler."""
    return identity_of(find_tool("go", "golang-go", environ))


def make(work: Work) -> Places:
    """Compile. Raises BuildFailed with the compiler's words."""
    work.progress("go build")
    go = find_tool("go", "golang-go", work.environ)
    try:
        work.run([go, "build", "-trimpath", "-o", BINARY, "."], work.build)
    except BuildFailed as error:
        raise BuildFailed("go build failed", error.words) from error
    return Places()
