"""Why an image cannot be pulled, in words that say what to do, from what the engine says.

Pure; `images` calls it. Engines tell causes only in prose, that of the registry or of Go's network library, so that they are known
by their words; those that are not known are passed on as they are.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from penstock.providers.containers.credentials import Login
from penstock.providers.containers.reference import Reference

Cause = Literal["missing", "login", "limit", "space", "platform", "insecure", "certificate", "unreachable", "other"]

LONGEST = 400
"""Characters of the engine's own words that are passed on."""

_SIGNS: tuple[tuple[Cause, tuple[str, ...]], ...] = (
    ("space", ("no space left on device", "disk quota exceeded")),
    ("platform", ("no matching manifest for", "cannot be used on this platform", "does not match the detected host platform")),
    ("limit", ("toomanyrequests", "too many requests", "rate limit")),
    ("insecure", ("server gave http response to https client",)),
    ("certificate", ("x509:", "tls: ")),
    (
        "login",
        ("pull access denied", "unauthorized", "no basic auth credentials", "authentication required", "denied:", "403 forbidden"),
    ),
    ("missing", ("manifest unknown", "not found", "name unknown", "name invalid", "repository name not known")),
    (
        "unreachable",
        (
            "connection refused", "no such host", "i/o timeout", "tls handshake timeout", "network is unreachable",
            "no route to host", "connection reset", "awaiting headers", "request canceled", "deadline exceeded",
            "server misbehaving", "temporary failure in name resolution", "dial tcp", ": eof", "unexpected eof", "bad gateway",
            "service unavailable", "gateway timeout",
        ),
    ),
)  # fmt: skip
"""In the order in which they are looked for: a full disk may be told within an error of the network, never the reverse."""

_WORDS: dict[Cause, tuple[str, str]] = {
    "missing": ("{registry} has no such image", "check its name and tag, or push it"),
    "limit": ("{registry} takes no more pulls for now", "log in (docker login {registry}), wait, or use a mirror"),
    "space": ("the engine's disk is full", "free space there (docker system prune, docker image prune) or enlarge it"),
    "platform": (
        "{registry} has none for this machine",
        "build it for {machine} as well (docker buildx build --platform)",
    ),
    "insecure": (
        "{registry} does not speak TLS",
        'give it a certificate, or add {registry} to "insecure-registries" in the engine\'s /etc/docker/daemon.json',
    ),
    "certificate": (
        "the certificate of {registry} is not trusted",
        "put its authority into /etc/docker/certs.d/{registry}/ca.crt on the engine's machine",
    ),
    "unreachable": (
        "{registry} cannot be reached from the engine's machine",
        "check its address, the network and the engine's proxy settings; the next try comes by itself",
    ),
    "other": ("the engine cannot pull it", "see its log"),
}


class Refusal(msgspec.Struct, frozen=True):
    """Why a pull failed."""

    cause: Cause
    text: str


def refusal_of(reference: Reference, message: str, login: Login, machine: str = "this machine") -> Refusal:
    """The cause and the words for what an engine said; `machine` is its platform, such as `linux/amd64`."""
    cause = _cause(reference, message)
    why, remedy = _of_login(login) if cause == "login" else _WORDS[cause]
    text = f"image {reference} cannot be pulled: {why}; {remedy}"
    for name, value in (("{registry}", reference.registry), ("{machine}", machine)):
        text = text.replace(name, value)
    return Refusal(cause, f"{text} (the engine says: {_shown(message)})")


def _cause(reference: Reference, message: str) -> Cause:
    lower = message.lower()
    for own in (str(reference), reference.exact, reference.repository):
        # An image may be called anything, `library/forbidden` too.
        lower = lower.replace(own.lower(), "")
    return next((cause for cause, signs in _SIGNS if any(sign in lower for sign in signs)), "other")


def _of_login(login: Login) -> tuple[str, str]:
    if login.header:
        known = f"the login of {login.user[:64]!r}" if login.user else "the login that is known"
        return (
            f"it is missing at {{registry}}, or {known} may not see it",
            "check its name, or log in anew (docker login {registry})",
        )
    trouble = f" ({login.trouble})" if login.trouble else ""
    return (
        f"it is missing at {{registry}}, or needs a login and none is known{trouble}",
        "check its name, or log in (docker login {registry}) as the user that runs Penstock",
    )


def _shown(message: str) -> str:
    """Somebody else's words, in one line and without what could steer a terminal."""
    text = " ".join("".join(character if character.isprintable() else " " for character in message).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
