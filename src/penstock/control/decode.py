"""Reads JSON request bodies the way Go services do, which is what existing clients were written against.

Keys match in any letter case, unknown ones are ignored and `null` means "not given" (contract gateway §1.0). The resource
files call it; every fault becomes an InvalidInput that names the field and says what was found there.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, NoReturn

import msgspec

from penstock.errors import InvalidInput

UINT64_MAX = (1 << 64) - 1


class JsonObject:
    """One JSON object of a request, read field by field."""

    def __init__(self, members: dict[str, Any], where: str = "") -> None:
        self._members = {name.lower(): value for name, value in members.items() if value is not None}
        self._where = where

    @classmethod
    def parse(cls, body: bytes) -> JsonObject:
        """The object in `body`; `null` is an empty one. Raises InvalidInput for anything else."""
        if not body.strip():
            raise InvalidInput("request body: a JSON object is required, the body is empty")
        try:
            value = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(f"request body: cannot be read as JSON: {error}") from error
        except RecursionError as error:
            raise InvalidInput("request body: is nested too deeply") from error
        if value is not None and not isinstance(value, dict):
            raise InvalidInput(f"request body: must be an object, not {_kind(value)}")
        return cls(value or {})

    def has(self, name: str) -> bool:
        """Whether the field is there and not `null`."""
        return name.lower() in self._members

    def text(self, name: str) -> str:
        """A string; empty when not given."""
        value = self._members.get(name.lower(), "")
        if not isinstance(value, str):
            self._refuse(name, "a string", value)
        return value

    def flag(self, name: str) -> bool:
        """A boolean; False when not given."""
        value = self._members.get(name.lower(), False)
        if not isinstance(value, bool):
            self._refuse(name, "true or false", value)
        return value

    def count(self, name: str) -> int:
        """A whole number from 0 to 2**64 - 1, written without point or exponent; 0 when not given."""
        value = self._members.get(name.lower(), 0)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= UINT64_MAX:
            self._refuse(name, "a whole number, 0 or more", value)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings; `null` entries count as empty strings, as in Go."""
        values = self._members.get(name.lower(), [])
        if not isinstance(values, list):
            self._refuse(name, "a list of strings", values)
        items = ["" if value is None else value for value in values]
        for index, value in enumerate(items):
            if not isinstance(value, str):
                self._refuse(f"{name}[{index}]", "a string", value)
        return tuple(items)

    def text_map(self, name: str) -> dict[str, str]:
        """An object whose values are strings. Its keys keep their case; a `null` value counts as an empty string."""
        values = self._members.get(name.lower(), {})
        if not isinstance(values, dict):
            self._refuse(name, "an object of strings", values)
        items = {key: "" if value is None else value for key, value in values.items()}
        for key, value in items.items():
            if not isinstance(value, str):
                self._refuse(f"{name}.{key}", "a string", value)
        return items

    def child(self, name: str) -> JsonObject:
        """A nested object; an empty one when not given."""
        value = self._members.get(name.lower(), {})
        if not isinstance(value, dict):
            self._refuse(name, "an object", value)
        return JsonObject(value, f"{self._where}{name}.")

    def children(self, name: str) -> tuple[JsonObject, ...]:
        """A list of objects; `null` entries count as empty ones, as in Go."""
        values = self._members.get(name.lower(), [])
        if not isinstance(values, list):
            self._refuse(name, "a list of objects", values)
        for index, value in enumerate(values):
            if value is not None and not isinstance(value, dict):
                self._refuse(f"{name}[{index}]", "an object", value)
        return tuple(JsonObject(value or {}, f"{self._where}{name}[{index}].") for index, value in enumerate(values))

    def blob(self, name: str) -> bytes:
        """Bytes sent as standard base64 with padding; line breaks in it are ignored, as in Go."""
        text = self.text(name).replace("\r", "").replace("\n", "")
        try:
            return base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidInput(f"{self._where}{name}: is not valid base64") from error

    def _refuse(self, name: str, wanted: str, found: object) -> NoReturn:
        raise InvalidInput(f"{self._where}{name}: must be {wanted}, not {_kind(found)}")


def _kind(value: object) -> str:
    """What a JSON value is, without repeating it: it may be a secret or megabytes long."""
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "a negative number" if value < 0 else "a number"
    if isinstance(value, float):
        return "a number with a point or exponent"
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else "null"
