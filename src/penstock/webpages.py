"""Requests that a page of another site makes through a browser, behind the back of whoever sits before it.

The guard of the REST API asks here, and the gateway for requests that use object storage. Plain functions serve pages as well.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS"))


def foreign_page(method: str, headers: Mapping[str, str]) -> str:
    """Why a browser's request from another site is refused; empty when it is not one. Only browsers send these headers.

    A browser adds saved credentials to any page's request, so that without this check a page could deploy programs.
    """
    if method in _SAFE_METHODS:
        return ""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    # A proxy may put its own name into Host; no page can send X-Forwarded-Host to another site unasked.
    ours = (headers.get("host"), headers.get("x-forwarded-host"))
    foreign = site not in ("same-origin", "none") if site else bool(origin) and _host_of(origin) not in ours
    return "refused: the request comes from a page of another site" if foreign else ""


def foreign_host(headers: Mapping[str, str]) -> str:
    """Why a Host that is not this machine's loopback is refused; `--no-auth` exists on loopback only."""
    try:
        name = urlsplit(f"//{headers.get('host', '')}").hostname or "localhost"
    except ValueError:
        return "refused: the Host header cannot be read"
    if name == "localhost" or name.endswith(".localhost") or _is_loopback(name):
        return ""
    return "refused: without authentication only loopback host names are served, use localhost or 127.0.0.1"


def _host_of(origin: str | None) -> str:
    return (origin or "").partition("://")[2]


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
