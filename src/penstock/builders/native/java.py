"""Java: all sources of the build's folder are compiled into `classes` there, against the jars that lie in it."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.builders.native.work import Places, Work, find_tool, identity_of
from penstock.errors import BuildFailed, InvalidInput

CLASSES = "classes"


def identity(environ: Mapping[str, str]) -> str:
    """The compiler."""
    return identity_of(find_tool("javac", "default-jdk-headless", environ))


def make(work: Work) -> Places:
    """Compile. Raises BuildFailed with the compiler's words."""
    sources = sorted(str(path.relative_to(work.build)) for path in work.build.rglob("*.java"))
    if not sources:
        raise InvalidInput(f"{work.shown}: there is no .java file in it")
    jars = sorted(str(path.relative_to(work.build)) for path in work.build.rglob("*.jar"))
    work.progress(f"javac, {len(sources)} file{'s' * (len(sources) > 1)}")
    javac = find_tool("javac", "default-jdk-headless", work.environ)
    path = ["-cp", ":".join(jars)] if jars else []
    try:
        # The option silences a warning about the one interface by which Java hears of SIGTERM in time.
        work.run([javac, "-XDignore.symbol.file", "-encoding", "UTF-8", "-d", CLASSES, *path, *sources], work.build)
    except BuildFailed as error:
        raise BuildFailed("javac failed", error.words) from error
    return Places()
