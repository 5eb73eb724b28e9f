"""The template store: a JSON list of templates and of the git repositories that have them (contract watchdog-cli §5.5).

Read by the verbs of `template store`, by `new` and by `ensure`, from a URL or a file. Where the usual store cannot be reached, the
templates of this installation are the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from penstock.core.shown import shown
from penstock.errors import InvalidInput, NotFound, PenstockError
from penstock.stack import fetch
from penstock.templates.catalogue import shipped
from penstock.templates.read import check_template_name

DEFAULT_URL = "https://raw.githubusercontent.com/openfaas/store/master/templates.json"
VARIABLE = "OPENFAAS_TEMPLATE_STORE_URL"


class StoreTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """One entry."""

    template: str
    platform: str = ""
    language: str = ""
    source: str = ""
    """Of a git repository; empty for a template of Penstock's own."""
    description: str = ""
    repo: str = ""
    """Who keeps it, or where."""
    official: str = "false"
    """A text in the file, `true` or `false`."""
    recommended: bool = False


class Store(msgspec.Struct, frozen=True, kw_only=True):
    """What a store has, in the order in which it is shown."""

    place: str
    templates: tuple[StoreTemplate, ...]
    unreachable: str = ""
    """Why these are our own templates and not the usual store; empty when they are what was meant."""


def read_store(place: str, environ: Mapping[str, str]) -> Store:
    """The store at a URL or in a file; with an empty `place` that of $OPENFAAS_TEMPLATE_STORE_URL, else the usual one, else ours.

    Raises NotFound, PenstockError for a store that was named and cannot be read, InvalidInput for what is no store.
    """
    place = place or environ.get(VARIABLE, "")
    if place:
        return parse_store(_read(place), place)
    try:
        return parse_store(fetch.download(DEFAULT_URL), DEFAULT_URL)
    except InvalidInput:
        raise
    except PenstockError as error:
        return Store(place="", templates=_own(), unreachable=str(error))


def parse_store(data: bytes, place: str) -> Store:
    """A store from its JSON. `place` is for messages. Raises InvalidInput."""
    try:
        templates = msgspec.convert(_without_null(msgspec.json.decode(data)), list[StoreTemplate])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"{place}: is not a template store: {error}") from error
    for template in templates:
        try:
            check_template_name(template.template)
        except InvalidInput as error:
            raise InvalidInput(f"{place}: {error}") from error
    return Store(place=place, templates=tuple(sorted(map(_as_shown, templates), key=_order)))


def find(store: Store, name: str) -> StoreTemplate:
    """The template of that name, or of the name and the owner of its repository (`owner/name`). Raises NotFound."""
    for template in store.templates:
        if name.lower() in (template.template.lower(), f"{template.repo}/{template.template}".lower()):
            return template
    there = ", ".join(template.template for template in store.templates)
    if store.unreachable:
        raise NotFound(
            f"template {name!r} is not one of Penstock's own, {there}; and of the store: {store.unreachable}"
        )
    raise NotFound(f"template {name!r} is not in the store {store.place}; it has {there}")


def on_platform(templates: Iterable[StoreTemplate], platform: str) -> list[StoreTemplate]:
    """Those for a platform, such as x86_64; those that name none are for all."""
    return [template for template in templates if template.platform.lower() in ("", platform.lower())]


def _as_shown(template: StoreTemplate) -> StoreTemplate:
    """The same without what would steer a terminal, in all that is only there to be read."""
    return msgspec.structs.replace(
        template,
        platform=shown(template.platform),
        language=shown(template.language),
        description=shown(template.description),
        repo=shown(template.repo),
        official=shown(template.official),
    )


def _order(template: StoreTemplate) -> tuple[bool, bool, str]:
    return not template.recommended, template.official != "true", template.template.lower()


def _own() -> tuple[StoreTemplate, ...]:
    return tuple(
        StoreTemplate(
            template=template.name,
            language=template.language,
            description=template.description,
            repo="penstock",
            official="true",
            recommended=True,
        )
        for template in shipped()
    )


def _read(place: str) -> bytes:
    if fetch.is_url(place):
        return fetch.download(place)
    return fetch.read(Path(place.removeprefix("file://")), place)


def _without_null(value: Any) -> Any:
    """The same without members that are null, and with `official` as the text that it is mostly given as."""
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    if isinstance(value, dict):
        kept = {key: member for key, member in value.items() if member is not None}
        if isinstance(kept.get("official"), bool):
            kept["official"] = str(kept["official"]).lower()
        return kept
    return value
