"""What the API server may say no with, as errors of ours, and how its answers become them. Used by `api`."""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.core.shown import shown
from penstock.errors import InvalidInput, PenstockError, ProviderUnavailable

_MAX_MESSAGE = 2000


class ApiRefused(PenstockError):
    """The API server answered with an error; `code` is its status, `reason` its word for the kind of it."""

    status = 502

    def __init__(self, message: str, code: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


class ApiNotFound(ApiRefused):
    """There is no such object, or no such kind."""


class ApiConflict(ApiRefused):
    """The object exists, or is another one or another version by now."""


class ApiGone(ApiRefused):
    """What is to be watched from is too old: list again."""


class ApiForbidden(ApiRefused):
    """The gateway's account may not do that; the message names the rule that is missing."""


class ApiInvalid(ApiRefused, InvalidInput):
    """The object breaks a rule of Kubernetes; the message has its words."""

    status = 400


class ApiUnavailable(ProviderUnavailable):
    """It does not answer, or has no time."""


_BY_CODE: dict[int, type[ApiRefused]] = {
    400: ApiInvalid,
    404: ApiNotFound,
    409: ApiConflict,
    410: ApiGone,
    422: ApiInvalid,
}


def refusal(code: int, body: bytes, asked: str, rule: str) -> ApiRefused:
    """The error for an answer of 400 or more. `asked` says what was asked for, `rule` what allows it."""
    said = _status(body)
    message = shown(
        str(said.get("message") or body[:_MAX_MESSAGE].decode("utf-8", "replace").strip() or f"status {code}")
    )
    message, reason = message[:_MAX_MESSAGE], str(said.get("reason") or "")
    if code in (401, 403) and "quota" not in message:
        what = "does not know the gateway's credentials" if code == 401 else "does not allow the gateway to do that"
        needed = f" (the rule that allows it: {rule})" if rule else ""
        return ApiForbidden(f"the API server {what}: {message}{needed}", code, reason)
    kind = ApiInvalid if code == 403 else _BY_CODE.get(code, ApiRefused)
    return kind(f"{asked}: {message}", code, reason)


def _status(body: bytes) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {}
    return said if isinstance(said, dict) else {}
