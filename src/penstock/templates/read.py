"""Reads a template's folder: `template.yml`, as faas-cli knows it and with our own keys, judged before anybody uses it.

Called by `catalogue` and `repository`. Looks at one folder only and runs nothing.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from penstock.core.shown import shown
from penstock.errors import InvalidInput
from penstock.templates.model import BuildOption, Native, Template

FILE = "template.yml"

LARGEST = 64 * 1024
"""Bytes; a template.yml has about one thousand."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(?:/[A-Za-z0-9_.+-]+)*", re.ASCII)
_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_PLACES = ("build", "function", "python", "site")


class _File(msgspec.Struct, frozen=True):
    """`template.yml` (contract watchdog-cli §5.1), `description`, `needs` and `native` being ours. Other keys are of no concern to us."""

    language: str | None = None
    fprocess: str | None = None
    build_options: list[BuildOption] | None = None
    welcome_message: str | None = None
    handler_folder: str | None = None
    mount_ssh: bool | None = None
    description: str | None = None
    needs: list[str] | None = None
    native: Native | None = None


class _TextLoader(yaml.SafeLoader):
    """A safe loader for which every scalar but null is text as written; equal keys and aliases are errors.

    The one in C does not ask its subclasses.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem="aliases are not allowed here", problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value!r} is there twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_TextLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag == "tag:yaml.org,2002:null"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_template(folder: Path, name: str, *, shipped: bool = False) -> Template:
    """The template in that folder, to be called by that name. Raises InvalidInput with the file and what is wrong with it."""
    file = folder / FILE
    content = _parse(file)
    return Template(
        name=name,
        folder=folder,
        language=shown(content.language or ""),
        fprocess=content.fprocess or "",
        build_options=tuple(content.build_options or ()),
        welcome_message=shown(content.welcome_message or ""),
        handler_folder=_inside(file, content.handler_folder or "function"),
        mount_ssh=content.mount_ssh or False,
        description=shown(content.description or ""),
        needs=tuple(content.needs or ()),
        native=_with_known_places(file, content.native) if content.native is not None else None,
        shipped=shipped,
    )


def check_template_name(name: str) -> str:
    """`name` itself, perhaps with `@ref`, when it can be a folder below `template`; else InvalidInput."""
    base, at, ref = name.partition("@")
    if not _NAME.fullmatch(base):
        raise InvalidInput(
            f"template: {name!r} is no name of a template: letters, digits, dots, dashes and underscores"
        )
    if at:
        check_ref(ref)
    return name


def check_ref(ref: str) -> str:
    """`ref` itself when it can name a branch, a tag or `sha-` and a commit, and be a part of a path; else InvalidInput.

    A part of what git allows (git-check-ref-format), so that it can neither be an option nor lead out of a folder.
    """
    parts = ref.split("/")
    if not _REF.fullmatch(ref) or ".." in ref or any(part.startswith(".") or part.endswith(".lock") for part in parts):
        raise InvalidInput(f"template: {ref!r} names no branch, tag or commit (as sha-0123abc)")
    return ref


def _parse(file: Path) -> _File:
    try:
        # Without waiting: a pipe in its place would have us wait for somebody to write.
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise InvalidInput(f"{file}: is no file")
            text = stream.read(LARGEST + 1)
    except OSError as error:
        raise InvalidInput(f"{file}: cannot be read: {error.strerror}") from error
    if len(text) > LARGEST:
        raise InvalidInput(f"{file}: is larger than {LARGEST} bytes, which is no description of a template")
    try:
        # The loader is a safe one (see above), which the linter cannot know.
        content = yaml.load(text, _TextLoader)  # noqa: S506
        return msgspec.convert(content if content is not None else {}, _File, strict=False)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{file}:{mark.line + 1}" if mark else str(file)
        raise InvalidInput(f"{where}: {shown(str(error.problem))}") from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{file}: is not YAML: {shown(str(error))}") from error
    except RecursionError as error:
        raise InvalidInput(f"{file}: is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{file}: {shown(str(error))}") from error


def _inside(file: Path, folder: str) -> str:
    """A folder of the template that does not lead out of it."""
    path = Path(folder)
    if path.is_absolute() or ".." in path.parts or path == Path():
        raise InvalidInput(f"{file}: handler_folder: {folder!r} must be a folder below the template")
    return folder


def _with_known_places(file: Path, native: Native) -> Native:
    for text in (native.fprocess, *native.environment.values()):
        for place in _PLACEHOLDER.findall(text):
            if place not in _PLACES:
                raise InvalidInput(f"{file}: native: {{{place}}} is unknown, use one of {', '.join(_PLACES)}")
    return native
