"""One exchange with a gateway, as far as it takes no HTTP library: an answer, what it means when it is not the wanted one, and one GET.

Used by the quick verbs directly and by `client` for everything else. Imports neither click nor aiohttp.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlencode

import penstock
from penstock.cli.output import printable
from penstock.cli.target import Target
from penstock.errors import (
    AlreadyExists,
    GatewayUnavailable,
    InvalidInput,
    NotFound,
    NotSupported,
    PenstockError,
    ProviderUnavailable,
    Unauthorized,
)

USER_AGENT = f"penstock/{penstock.__version__}"
PATIENCE = 3.0
"""Seconds that somebody at a terminal is left without a word."""

_ERRORS: Mapping[int, type[PenstockError]] = {
    400: InvalidInput,
    404: NotFound,
    409: AlreadyExists,
    422: InvalidInput,
    501: NotSupported,
    503: ProviderUnavailable,
}
_HEALTHY = (b"", b"ok")
"""What gateways say with a success that has nothing to say (contract gateway §1.3), in small letters."""


class Reply(NamedTuple):
    """A whole answer of the REST API."""

    status: int
    reason: str
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace").strip()


class TookTooLong(PenstockError):
    """The time that `--timeout` gives was over before the answer was."""


def fetch(target: Target, path: str, params: Mapping[str, str]) -> Reply:
    """The whole answer to one GET, for verbs that must be quick: without the asynchronous client, where nothing speaks for it.

    Raises as `Gateway.request` does.
    """
    if target.url.startswith("http:") and proxy_of(target) is None:
        try:
            with waiting_said(target):
                reply = _fetched(target, path, params)
        except TimeoutError as error:
            raise silent(target, too_long("GET", target.url + path, target)) from error
        except OSError as error:
            raise unreachable(target, words_of(error)) from error
        if reply is not None:
            return reply
    from penstock.cli.client import talk  # late: it brings the asynchronous client

    return talk(target, lambda gateway: gateway.request("GET", path, params=params))


def _fetched(target: Target, path: str, params: Mapping[str, str]) -> Reply | None:
    """None for an answer that the other client must understand."""
    from penstock.cli.plainhttp import get

    query = f"?{urlencode(params)}" if params else ""
    try:
        status, reason, body = get(f"{target.url}{path}{query}", headers_of(target), target.timeout or None)
    except ValueError:  # chunked in spite of HTTP/1.0, cut, or no HTTP at all
        return None
    if status == 401:
        raise unauthorized(target)
    return Reply(status, reason, body)


def headers_of(target: Target) -> dict[str, str]:
    """Who asks, and as whom."""
    headers = {"User-Agent": USER_AGENT}
    if target.authorization:
        headers["Authorization"] = target.authorization
    return headers


@contextmanager
def waiting_said(target: Target) -> Iterator[None]:
    """Say on a terminal what is waited for, where that takes longer than PATIENCE; in a pipe nothing."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    from threading import Timer  # late: scripts have no use for it

    limit = f"for at most {target.timeout:g} s, see --timeout" if target.timeout else "for ever, see --timeout"
    words = f"Waiting for the gateway at {target.url} to answer ({limit}). Ctrl-C ends it."
    timer = Timer(PATIENCE, lambda: print(words, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def refusal(reply: Reply) -> PenstockError:
    """The domain error that an unwanted status stands for, with the gateway's own words."""
    kind = _ERRORS.get(reply.status, PenstockError)
    words = "\n".join("\t".join(map(printable, line.split("\t"))) for line in reply.text.splitlines())
    return kind(f"the gateway answered {reply.status} {printable(reply.reason)}: {words or 'it gave no reason'}")


def unauthorized(target: Target) -> Unauthorized:
    """What to do about a 401."""
    return Unauthorized(f"the gateway at {target.url} asks for a login: run `penstock login --gateway {target.url}`")


def check_acknowledged(target: Target, status: int, body: bytes) -> None:
    """A success that has nothing to say must say nothing: a web server that has a page for every path is no gateway.

    Raises GatewayUnavailable.
    """
    if body.strip().lower() not in _HEALTHY:
        start = body[:40].decode(errors="replace")
        raise GatewayUnavailable(
            f"what answers at {target.url} is not a gateway: it says {status}, and then {start!r} where a gateway says nothing;"
            " name another with --gateway or $PENSTOCK_URL"
        )


def unreachable(target: Target, reason: str) -> GatewayUnavailable:
    """Nobody answers, and what to do about it."""
    remedy = "start one with `penstock serve`, or name another with --gateway or $PENSTOCK_URL"
    return GatewayUnavailable(f"cannot reach a gateway at {target.url} ({reason}); {remedy}")


def silent(target: Target, limit: TookTooLong) -> GatewayUnavailable:
    """A gateway that takes connections, and no more."""
    return GatewayUnavailable(f"the gateway at {target.url} does not answer: {limit}")


def too_long(method: str, url: object, target: Target) -> TookTooLong:
    return TookTooLong(f"{method} {url} took longer than {target.timeout:g} s; give it more with --timeout")


def words_of(error: OSError) -> str:
    """A failure of the system in its own words; what the resolver says has a negative number."""
    return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)


def proxy_of(target: Target) -> str | None:
    """The proxy that the environment asks for; never for this machine itself."""
    if target.loopback:
        return None
    from urllib.parse import urlsplit
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(target.url)
    if proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)
