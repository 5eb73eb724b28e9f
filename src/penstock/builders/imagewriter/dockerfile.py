"""Cuts a Dockerfile into instructions: comments, continued lines, the `escape` directive, flags.

Called by `interpret`, and by other builders that must know which images a file begins with. Knows no instruction but FROM and
ARG. Source: the Dockerfile reference of Docker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import msgspec

from penstock.builders.imagewriter.words import expand, split
from penstock.errors import InvalidInput

LONGEST = 1 << 20
"""Characters of a Dockerfile; those of templates have a few thousand."""

_DIRECTIVE = re.compile(r"#[ \t]*([a-zA-Z][a-zA-Z0-9]*)[ \t]*=[ \t]*(.+?)[ \t]*")
_INSTRUCTION = re.compile(r"([A-Za-z]+)(?:[ \t]+(.*))?", re.DOTALL)
_FLAG = re.compile(r"--([a-z][a-z-]*)(?:=(\S*))?(?:[ \t]+|$)")
_HEREDOC = re.compile(r"<<-?[\"']?[A-Za-z_][A-Za-z0-9_]*")


class Instruction(msgspec.Struct, frozen=True):
    """One instruction, with its continued lines joined."""

    line: int
    """Of its beginning, counted from 1."""
    name: str
    """In capitals."""
    flags: dict[str, str]
    """Those before the arguments, such as `from` of `--from=build`."""
    rest: str
    """Its arguments as they are written."""

    def fault(self, why: str) -> InvalidInput:
        return InvalidInput(f"Dockerfile:{self.line}: {self.name}: {why}")


class Dockerfile(msgspec.Struct, frozen=True):
    """A whole file."""

    instructions: tuple[Instruction, ...]
    escape: str = "\\"


def parse(text: str) -> Dockerfile:
    """The instructions of a Dockerfile. Raises InvalidInput."""
    if len(text) > LONGEST:
        raise InvalidInput(f"Dockerfile: is longer than {LONGEST} characters")
    if "\0" in text:
        raise InvalidInput("Dockerfile: holds a zero byte, so it is no text")
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    escape = _escape(lines)
    return Dockerfile(tuple(_instruction(number, joined) for number, joined in _joined(lines, escape)), escape)


def _escape(lines: list[str]) -> str:
    """Of the directives at the top, before any comment or instruction."""
    for number, line in enumerate(lines, 1):
        found = _DIRECTIVE.fullmatch(line.strip())
        if found is None:
            break
        if found[1].lower() == "escape":
            if found[2] not in ("\\", "`"):
                raise InvalidInput(f"Dockerfile:{number}: escape={found[2]!r}: must be \\ or `")
            return found[2]
    return "\\"


def _joined(lines: list[str], escape: str) -> Iterator[tuple[int, str]]:
    """Each instruction's text and first line; comments and empty lines inside one are left out."""
    number, parts = 0, list[str]()
    for place, line in enumerate(lines, 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        number = number or place
        goes_on = stripped.endswith(escape)
        parts.append((line if parts else line.lstrip()).rstrip().removesuffix(escape) if goes_on else line.rstrip())
        if not goes_on:
            yield number, "".join(parts).strip()
            number, parts = 0, []
    if parts and "".join(parts).strip():
        yield number, "".join(parts).strip()


def _instruction(line: int, text: str) -> Instruction:
    found = _INSTRUCTION.fullmatch(text)
    if found is None:
        raise InvalidInput(f"Dockerfile:{line}: {text[:60]!r} is no instruction")
    name, rest = found[1].upper(), (found[2] or "").strip()
    flags: dict[str, str] = {}
    while flag := _FLAG.match(rest):
        flags[flag[1]] = flag[2] if flag[2] is not None else "true"
        rest = rest[flag.end() :].lstrip()
    instruction = Instruction(line, name, flags, rest)
    if name in ("COPY", "ADD", "RUN") and _HEREDOC.search(rest):
        raise instruction.fault("here-documents are not understood; put the text in a file beside the Dockerfile")
    return instruction


def base_images(text: str, arguments: Mapping[str, str]) -> list[str]:
    """The images that stages begin with, in order and each once; not those that are stages themselves, and not `scratch`."""
    file = parse(text)
    known: dict[str, str] = {}
    stages, bases = set[str](), dict[str, None]()
    for instruction in file.instructions:
        if instruction.name == "ARG" and not stages:
            known |= argument(instruction, file.escape, known, arguments)
        elif instruction.name == "FROM":
            image, stage = from_words(instruction, file.escape, known)
            if image.lower() not in stages | {"scratch"}:
                bases[image] = None
            stages.add(stage.lower() or f"#{len(stages)}")
    return list(bases)


def argument(
    instruction: Instruction, escape: str, known: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """What an ARG adds to what is known: the value that is given for it, else its default, else nothing."""
    found: dict[str, str] = {}
    for word in split(instruction.rest, escape):
        name, equals, default = word.partition("=")
        if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
            raise instruction.fault(f"{name[:60]!r} cannot be the name of an argument")
        if name in given:
            found[name] = given[name]
        elif equals:
            found[name] = expand(default, {**known, **found}, escape, instruction.fault)
    if not instruction.rest:
        raise instruction.fault("needs a name")
    return found


def from_words(instruction: Instruction, escape: str, known: Mapping[str, str]) -> tuple[str, str]:
    """Image and stage's name, which may be empty."""
    words = [expand(word, known, escape, instruction.fault) for word in instruction.rest.split()]
    if len(words) == 1 and words[0]:
        return words[0], ""
    if len(words) == 3 and words[1].lower() == "as" and words[0]:
        if not re.fullmatch("[A-Za-z][A-Za-z0-9_.-]*", words[2]):
            raise instruction.fault(f"{words[2][:60]!r} cannot be the name of a stage")
        return words[0], words[2]
    raise instruction.fault(f"must be `FROM image` or `FROM image AS name`; {instruction.rest[:100]!r} gives none")
