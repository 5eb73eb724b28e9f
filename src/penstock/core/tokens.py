"""Tokens of functions: what lets somebody call one function with objects of a store without being the administrator.

A token is made from the function's key and the administrator's password, so that every process that knows the password knows
all tokens, nothing is stored, and a new password ends them all. Who checks one is the gateway (`gateway.byreference`).
"""

from __future__ import annotations

import base64
import hashlib
import hmac

_SALT = b"penstock function tokens 1"
"""Fixed: all gateways of an installation must derive the same. The password is random unless somebody chose it."""

_EVENTS = b"storage events"
"""What the token of object stores signs; functions' begin otherwise."""

_PURPOSE = b"function "
"""What is signed begins with it, so that the same key could sign something else one day."""


def derive_key(password: str) -> bytes:
    """The key of all tokens. Slow on purpose (some 50 ms, 16 MiB): a token must not help to guess the password."""
    return hashlib.scrypt(password.encode(), salt=_SALT, n=1 << 14, r=8, p=1, dklen=32)


def function_token(key: bytes, function: str) -> str:
    """The token of a function or pipeline, named `NAME.NAMESPACE`: 43 characters that may stand in a header."""
    return _written(hmac.digest(key, _PURPOSE + function.encode(), "sha256"))


def events_token(key: bytes) -> str:
    """The token with which an object store may notify of events, and do nothing else."""
    return _written(hmac.digest(key, _EVENTS, "sha256"))


def bearer_token(authorization: str) -> str | None:
    """The token in an `Authorization` value (RFC 6750 §2.1); None where it has none."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def accepts(key: bytes, function: str, token: str) -> bool:
    """Whether `token` is this function's, compared in constant time."""
    return hmac.compare_digest(function_token(key, function).encode(), token.encode())


def _written(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
