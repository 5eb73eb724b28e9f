"""Reads an image's own entrypoint and command: whether they start a watchdog, and which program they are.

Called by `plan`. What cannot become a program of the watchdog, whose command lines are split at single spaces and know no
quoting, is refused with advice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from penstock.errors import InvalidInput
from penstock.providers.validation import MAX_ENV_ENTRY

WATCHDOGS = frozenset({"fwatchdog", "of-watchdog", "watchdog", "penstock-watchdog"})
"""Names of programs that serve functions by themselves."""

_INITS = frozenset({"tini", "tini-static", "dumb-init", "docker-init", "catatonit"})
"""Programs that only start another one; options of theirs begin with a dash."""
_SHELLS = frozenset({"sh", "bash", "ash", "dash"})
_BARE = _SHELLS | {
    "zsh", "ksh", "busybox", "python", "pypy", "ipython", "node", "nodejs", "bun", "deno", "irb", "pry", "ruby", "perl", "php",
    "lua", "luajit", "julia", "octave", "jshell", "groovysh", "scala", "clojure", "erl", "iex", "elixir", "ghci", "guile",
    "pwsh", "sqlite", "tclsh", "r",
}  # fmt: skip
"""Programs that, without arguments, wait for what somebody types."""
_INTERACTIVE = frozenset({"-", "-a", "-i", "-l", "-il", "-li", "--interactive", "--login", "-it", "--no-save"})
_VERSION = re.compile(r"[-.0-9]+\Z")
_PLAIN = re.compile(r"[A-Za-z0-9_/.,:=@%+-]+(?: +[A-Za-z0-9_/.,:=@%+-]+)*", re.ASCII)
"""Words that a shell would take as they stand."""
_ADVICE = "name the program with envProcess (--fprocess)"


def has_watchdog(entrypoint: Sequence[str], command: Sequence[str]) -> bool:
    """Whether an image starts a watchdog, at once or by an init or a shell."""
    match _unwrapped([*entrypoint, *command]):
        case [first, *_] if _base(first) in WATCHDOGS:
            return True
        case [first, "watchdog", *_]:
            return _base(first) == "penstock"
    return False


def variable(environ: Mapping[str, str]) -> str:
    """The program that an image's environment names for a watchdog."""
    return environ.get("function_process") or environ.get("fprocess") or ""


def own_program(image: str, entrypoint: Sequence[str], command: Sequence[str]) -> str:
    """The image's entrypoint and command as a command line of the watchdog. Raises InvalidInput."""
    words = [*entrypoint, *command]
    if not words:
        raise InvalidInput(f"image: {image} names no program to start (ENTRYPOINT, CMD); {_ADVICE}")
    if _is_bare(words):
        raise InvalidInput(
            f"image: {image} starts {words[-1][:64]!r} alone, which does nothing for a request; {_ADVICE}"
        )
    words = _plain_words(words)
    line = " ".join(words)
    if any(" " in word for word in words) or not words[0]:
        raise InvalidInput(
            f"image: the program of {image} cannot be told to the watchdog, which splits at spaces and knows no shell "
            f"({line[:200]!r}); {_ADVICE}, such as a script in the image"
        )
    if (
        "\x00" in line
        or len(line.encode("utf-8", "replace")) + len("fprocess=") > MAX_ENV_ENTRY
        or not _encodable(line)
    ):
        raise InvalidInput(
            f"image: the program of {image} is too long, or no text that a program can be told; {_ADVICE}"
        )
    return line


def _is_bare(words: Sequence[str]) -> bool:
    """Also behind an init or a script that only prepares, as in `docker-entrypoint.sh node`."""
    words = _unwrapped(words)
    while len(words) > 1 and _base(words[0]).removesuffix(".sh").endswith("entrypoint"):
        words = words[1:]
    return bool(words) and _VERSION.sub("", _base(words[0]).lower()) in _BARE and _INTERACTIVE.issuperset(words[1:])


def _unwrapped(words: Sequence[str]) -> list[str]:
    """Without inits in front, and what a shell would start instead of the shell."""
    rest = list(words)
    while rest and _base(rest[0]) in _INITS:
        rest = rest[1:]
        while rest and rest[0].startswith("-"):
            rest = rest[1:]
    return _plain_words(rest)


def _plain_words(words: Sequence[str]) -> list[str]:
    """`/bin/sh -c "cat -n"`, which is what Docker makes of `CMD cat -n`, is `cat -n` where a shell would add nothing to it."""
    match list(words):
        case [shell, "-c", line] if _base(shell) in _SHELLS and _PLAIN.fullmatch(line):
            plain = line.split()
            plain = plain[1:] if plain[0] == "exec" and len(plain) > 1 else plain
            return list(words) if "=" in plain[0] else plain
    return list(words)


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _base(word: str) -> str:
    return word.rpartition("/")[2]
