"""Which gateway a command speaks to and as whom: the URL's precedence, the credentials' precedence.

Built once per command by `options.connected` or `quick`; read by `exchange` and `client`. Opens files, never a socket.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

from penstock.cli.config import basic_token, config_path, saved_authorization
from penstock.errors import InvalidInput

DEFAULT_GATEWAY = "http://127.0.0.1:8080"


class Target(NamedTuple):
    """One gateway, seen by one command. No dataclass, since that takes longer to import than a quick verb has."""

    url: str
    """Without a trailing slash."""
    namespace: str = ""
    """Empty: whatever the gateway's default is."""
    authorization: str = ""
    """Value of the Authorization header; empty: none is sent."""
    verify_tls: bool = True
    timeout: float = 60.0
    """Seconds for a whole exchange; 0 means no limit."""

    @property
    def loopback(self) -> bool:
        return is_loopback(self.url)

    @property
    def plaintext(self) -> bool:
        """Whether others on the network could read along."""
        return self.url.startswith("http:") and not self.loopback


def gateway_url(flag: str | None, environ: Mapping[str, str]) -> str:
    """The flag, `$PENSTOCK_URL`, `$OPENFAAS_URL` or the default, the first that is given. Raises InvalidInput.

    A flag that spells the default still wins over the environment; only scheme and host are put in lower case.
    """
    text = flag or environ.get("PENSTOCK_URL") or environ.get("OPENFAAS_URL") or DEFAULT_GATEWAY
    text = text.strip()
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        usable = (
            text.isprintable()
            and parts.scheme in ("http", "https")
            and bool(parts.hostname)
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        usable = False
        parts = urlsplit("")
    if not usable or parts.query or parts.fragment:
        raise InvalidInput(
            f"{text!r} is not a gateway URL, write it like {DEFAULT_GATEWAY} or https://example.com/path"
        )
    if "@" in parts.netloc:
        raise InvalidInput("a gateway URL carries no user or password, use `penstock login` instead")
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", ""))


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine itself."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def authorization_for(url: str, token: str | None, environ: Mapping[str, str]) -> str:
    """The Authorization header: `--token`, else the saved login, else the password file of a server on this machine."""
    if token:
        if not token.isprintable() or not token.isascii():
            raise InvalidInput("--token holds characters that a header cannot carry")
        return f"Bearer {token}"
    return saved_authorization(config_path(environ), url) or _local_authorization(url, environ)


def _local_authorization(url: str, environ: Mapping[str, str]) -> str:
    """Credentials that `penstock serve` left in its home, when the gateway is on loopback and this user may read them."""
    if not is_loopback(url):
        return ""
    auth = os.path.join(os.path.expanduser(environ.get("PENSTOCK_HOME") or "~/.penstock"), "auth")
    try:
        user = _words(os.path.join(auth, "basic-auth-user"))
        password = _words(os.path.join(auth, "basic-auth-password"))
    except (OSError, UnicodeDecodeError):  # not this user's server: go on without
        return ""
    return f"Basic {basic_token(user, password)}"


def _words(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read().strip()
