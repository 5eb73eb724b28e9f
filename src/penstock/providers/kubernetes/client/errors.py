"""What the API server may say no with, as errors of ours, and how its answers become them. Used by `api`."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from penstock.core.shown import shown
from penstock.errors import InvalidInput, PenstockError, ProviderUnavailable

_MAX_MESSAGE = 2000
_DENIED = re.compile(r"admission webhook \"[^\"]*\" denied|ValidatingAdmissionPolicy .* denied request")
"""In the words of every answer that somebody's policy gave, with whatever status it likes."""
_NO_RIGHT = re.compile(r"\bcannot [a-z]+ (?:resource|path) ")
"""In the words of every answer that the authorization gave; other answers of 403 are those of admission: quotas, limits, plug-ins."""
_TERMINATING = "NamespaceTerminating"
_NO_SUCH_GROUP = b"404 page not found"
"""All that an API server says of a group that it does not have."""


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
    """The object breaks a rule of Kubernetes or of the cluster's; the message has its words."""

    status = 400


class ApiLeaving(ApiRefused):
    """The object's namespace is being deleted: nothing new comes into it. To the caller it is a conflict with that."""

    status = 409
    blame = "client"


class ApiUnavailable(ProviderUnavailable):
    """It does not answer, has no time, or what answers is something else."""


class ApiTooLong(ApiUnavailable):
    """The answer is longer than what is read."""


class CredentialsUnavailable(ApiUnavailable):
    """What the gateway shows the API server cannot be had: nothing was asked."""


_BY_CODE: dict[int, type[ApiRefused]] = {
    400: ApiInvalid,
    404: ApiNotFound,
    409: ApiConflict,
    410: ApiGone,
    422: ApiInvalid,
}


def refusal(code: int, body: bytes, asked: str, rule: str, who: str = "", write: bool = False) -> PenstockError:
    """The error for an answer of 400 or more. `asked` says what was asked for, `rule` what allows it, `who` asked.

    ApiUnavailable where something else than an API server gave it: what a proxy does not find may well exist.
    """
    said = _status(body)
    text = said.get("message")
    words = text if isinstance(text, str) and text else body[:_MAX_MESSAGE].decode("utf-8", "replace").strip()
    message, reason = shown(words or f"status {code}")[:_MAX_MESSAGE], str(said.get("reason") or "")
    if code < 500 and code != 429 and not said and not (code == 404 and body.strip() == _NO_SUCH_GROUP):
        return ApiUnavailable(f"something else than the Kubernetes API answers {asked} with {code}: {message[:200]!r}")
    if _TERMINATING in _causes(said):
        return ApiLeaving(f"the namespace is being deleted: {asked}: {message}", code, reason)
    if _DENIED.search(message):
        return ApiInvalid(f"a policy of the cluster refuses it: {asked}: {message}", code, reason)
    if code == 401:
        known = f" ({who})" if who else ""
        return ApiForbidden(f"the API server does not know the gateway's credentials{known}: {message}", code, reason)
    if code == 403 and (not write or _NO_RIGHT.search(message)):
        needed = f" (the rule that allows it: {rule})" if rule else ""
        return ApiForbidden(f"the API server does not allow the gateway to do that: {message}{needed}", code, reason)
    kind = ApiInvalid if code == 403 else _BY_CODE.get(code, ApiRefused)
    return kind(f"{asked}: {message}", code, reason)


def _status(body: bytes) -> dict[str, Any]:
    """The Status that an API server says no with; empty for anything else."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return said if isinstance(said, dict) and said.get("kind") == "Status" else {}


def _causes(said: dict[str, Any]) -> set[str]:
    details = said.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return (
        {str(cause.get("reason")) for cause in causes or () if isinstance(cause, dict)}
        if isinstance(causes, list)
        else set()
    )
