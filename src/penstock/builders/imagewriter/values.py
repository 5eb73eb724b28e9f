"""Reads the arguments of instructions that only say something of the image, and what they change in its settings.

Called by `interpret`. The documents are those of the Docker Image Specification v1.2.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Any

from penstock.builders.imagewriter.dockerfile import Instruction
from penstock.builders.imagewriter.words import expand, split
from penstock.core.duration import parse_duration
from penstock.errors import InvalidInput

_SECOND = 1_000_000_000
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.ASCII | re.IGNORECASE)
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9+-]{1,15}|[1-9][0-9]?", re.ASCII)
_CHECK_TIMES = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}
DEFAULT_SHELL = ["/bin/sh", "-c"]


class Values:
    """One instruction's arguments, read with what is known of variables where it stands."""

    def __init__(self, instruction: Instruction, escape: str, known: Mapping[str, str]) -> None:
        self.instruction = instruction
        self.escape = escape
        self.known = known

    def expand(self, word: str) -> str:
        return expand(word, self.known, self.escape, self.instruction.fault)

    def words(self) -> list[str]:
        """The arguments as a JSON list of texts, else cut at white space; variables replaced in both."""
        listed = self.listed()
        if listed is not None:
            return [self.expand(word.replace(self.escape, self.escape * 2)) for word in listed]
        return [self.expand(word) for word in split(self.instruction.rest, self.escape)]

    def listed(self) -> list[str] | None:
        """The arguments where they are a JSON list of texts, as they are."""
        if not self.instruction.rest.startswith("["):
            return None
        try:
            found = json.loads(self.instruction.rest)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None

    def command(self, shell: list[str]) -> list[str]:
        """Of CMD and ENTRYPOINT, in either form."""
        listed = self.listed()
        if listed is None and not self.instruction.rest:
            raise self.instruction.fault("needs a command")
        return listed if listed is not None else [*shell, self.instruction.rest]

    def pairs(self) -> dict[str, str]:
        """Of ENV and LABEL: `name=value …`, or the older `name value`."""
        words = split(self.instruction.rest, self.escape)
        if not words:
            raise self.instruction.fault("needs a name and a value")
        if "=" not in words[0]:
            name, _, value = self.instruction.rest.partition(" ")
            if not value.strip():
                raise self.instruction.fault(f"{name[:60]!r} has no value")
            return {self.expand(name): self.expand(value.strip())}
        return dict(self._pair(word) for word in words)

    def _pair(self, word: str) -> tuple[str, str]:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise self.instruction.fault(f"{word[:60]!r} must be name=value")
        return self.expand(name), self.expand(value)


def env(values: Values, settings: dict[str, Any]) -> None:
    known = environment(settings) | values.pairs()
    settings["Env"] = [f"{name}={value}" for name, value in known.items()]


def environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """The image's environment."""
    found = settings.get("Env")
    entries = [entry.partition("=") for entry in found if isinstance(entry, str)] if isinstance(found, list) else []
    return {name: value for name, equals, value in entries if equals}


def label(values: Values, settings: dict[str, Any]) -> None:
    settings["Labels"] = {**_table(settings, "Labels"), **values.pairs()}


def user(values: Values, settings: dict[str, Any]) -> None:
    settings["User"] = _single(values)


def workdir(values: Values, settings: dict[str, Any]) -> None:
    before = settings.get("WorkingDir")
    settings["WorkingDir"] = posixpath.normpath(
        posixpath.join("/", before if isinstance(before, str) else "", _single(values))
    )


def expose(values: Values, settings: dict[str, Any]) -> None:
    ports = _table(settings, "ExposedPorts")
    for word in values.words():
        found = _PORT.fullmatch(word)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if found is None or not 0 < first <= last < 1 << 16:
            raise values.instruction.fault(f"{word[:60]!r} is no port, such as 8080 or 53/udp")
        ports |= {f"{port}/{(found[3] or 'tcp').lower()}": {} for port in range(first, last + 1)}
    settings["ExposedPorts"] = ports


def volume(values: Values, settings: dict[str, Any]) -> None:
    words = values.words()
    if not words or not all(words):
        raise values.instruction.fault("needs a path")
    settings["Volumes"] = {**_table(settings, "Volumes"), **{word: {} for word in words}}


def stopsignal(values: Values, settings: dict[str, Any]) -> None:
    name = _single(values)
    if not _SIGNAL.fullmatch(name):
        raise values.instruction.fault(f"{name[:60]!r} is no signal, such as SIGTERM or 15")
    settings["StopSignal"] = name


def shell(values: Values, settings: dict[str, Any]) -> None:
    listed = values.listed()
    if not listed:
        raise values.instruction.fault('must be a JSON list of texts, such as ["/bin/sh", "-c"]')
    settings["Shell"] = listed


def cmd(values: Values, settings: dict[str, Any]) -> None:
    settings["Cmd"] = values.command(_shell(settings))


def entrypoint(values: Values, settings: dict[str, Any]) -> None:
    settings["Entrypoint"] = values.command(_shell(settings))


def healthcheck(values: Values, settings: dict[str, Any]) -> None:
    instruction = values.instruction
    kind, _, rest = instruction.rest.partition(" ")
    if kind.upper() == "NONE" and not rest.strip():
        settings["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not rest.strip():
        raise instruction.fault("must be NONE, or CMD and a command")
    inner = Values(Instruction(instruction.line, instruction.name, {}, rest.strip()), values.escape, values.known)
    listed = inner.listed()
    check: dict[str, Any] = {"Test": ["CMD", *listed] if listed is not None else ["CMD-SHELL", rest.strip()]}
    for name, text in instruction.flags.items():
        check |= _check_flag(instruction, name, values.expand(text))
    settings["Healthcheck"] = check


def _check_flag(instruction: Instruction, name: str, text: str) -> dict[str, int]:
    if name == "retries":
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise instruction.fault(f"--retries={text[:60]!r} is no number")
        return {"Retries": int(text)}
    if name not in _CHECK_TIMES:
        raise instruction.fault(f"--{name} is unknown")
    try:
        return {_CHECK_TIMES[name]: round(parse_duration(text) * _SECOND)}
    except InvalidInput as error:
        raise instruction.fault(f"--{name}: {error}") from error


def _single(values: Values) -> str:
    text = values.expand(values.instruction.rest)
    if not text:
        raise values.instruction.fault("needs a value, and it is empty")
    return text


def _shell(settings: Mapping[str, Any]) -> list[str]:
    found = settings.get("Shell")
    return [str(word) for word in found] if isinstance(found, list) and found else DEFAULT_SHELL


def _table(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = settings.get(name)
    return dict(found) if isinstance(found, dict) else {}


SAYING: Mapping[str, Callable[[Values, dict[str, Any]], None]] = {
    "ENV": env, "LABEL": label, "USER": user, "WORKDIR": workdir, "EXPOSE": expose, "VOLUME": volume, "STOPSIGNAL": stopsignal,
    "SHELL": shell, "CMD": cmd, "ENTRYPOINT": entrypoint, "HEALTHCHECK": healthcheck,
}  # fmt: skip
"""Instructions that only say something."""
