"""HTTP for registries: bounded in size and time, interruptible from another thread, and careful where credentials go.

Called by `registry` and `auth`. Redirects are followed without credentials when they lead to another host, and never from TLS to
plain text.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import BinaryIO
from urllib.parse import SplitResult, urljoin, urlsplit

from penstock.errors import BuildFailed

SILENCE = 30.0
"""Seconds without a byte until a registry counts as dead."""
SLOWEST = 16 << 10
"""Bytes in a second, on average, below which a transfer is given up after SILENCE: or drops now and then would hold us for days."""
MOST_REDIRECTS = 5
MOST_ANSWER = 4 << 20
"""Bytes of an answer that is read at once."""

_REDIRECTS = {301, 302, 303, 307, 308}
_BLOCK = 1 << 18
_INSECURE = "PENSTOCK_INSECURE_REGISTRIES"


class Lost(BuildFailed):
    """The registry could not be reached, or did not answer to the end; worth another try."""


class Answer:
    """Status, headers and a body that is read from the network."""

    def __init__(self, url: str, response: http.client.HTTPResponse, silence: float) -> None:
        self.url = url
        self.status = response.status
        self._response = response
        self._silence = silence
        self._started = time.monotonic()

    def header(self, name: str) -> str:
        return self._response.headers.get(name, "")

    def headers(self, name: str) -> list[str]:
        return self._response.headers.get_all(name, [])

    def read(self, most: int = MOST_ANSWER) -> bytes:
        """All of it. Raises BuildFailed when it is longer than `most`."""
        data = bytearray()
        for block in self.blocks():
            data += block
            if len(data) > most:
                raise BuildFailed(f"{self.url}: answers with more than {most} bytes")
        return bytes(data)

    def blocks(self) -> Iterator[bytes]:
        """The body, piece by piece. Raises Lost."""
        count = 0
        while True:
            try:
                block = self._response.read1(_BLOCK)
            except (OSError, http.client.HTTPException) as error:
                raise Lost(f"{self.url}: was cut off: {_reason(error)}") from error
            if not block:
                break
            yield block
            count += len(block)
            if time.monotonic() - self._started > self._silence + count / SLOWEST:
                raise Lost(f"{self.url}: sends less than {SLOWEST >> 10} KiB in a second")
        if self._response.length:
            raise Lost(f"{self.url}: ended {self._response.length} bytes too early")


class Transport:
    """Requests of one builder. `cancel` ends those that are under way, and all later ones."""

    def __init__(self, environ: Mapping[str, str], silence: float = SILENCE) -> None:
        self._silence = silence
        self._environ = environ
        self._open: set[http.client.HTTPConnection] = set()
        self._lock = threading.Lock()
        self._cancelled = False

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Made when TLS is first spoken: to read the certificates takes longer than a request to this machine's own registry."""
        return ssl.create_default_context()

    def root(self, registry: str) -> str:
        """The URL that a registry's API is below: plain text for this machine's own, and for those that the user names."""
        return f"{'http' if self.is_plain(registry) else 'https'}://{registry}"

    def is_plain(self, registry: str) -> bool:
        """See `is_plain`."""
        return is_plain(registry, self._environ)

    @contextmanager
    def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | BinaryIO = b"", length: int | None = None
    ) -> Iterator[Answer]:
        """Send it and follow redirects of GET and HEAD. Raises Lost, BuildFailed."""
        sent = dict(headers)
        for _ in range(MOST_REDIRECTS + 1):
            with self._once(method, url, sent, body, length) as answer:
                if answer.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                    yield answer
                    return
                url, sent = _redirected(url, answer.header("Location"), sent)
        raise BuildFailed(f"{url}: there are more than {MOST_REDIRECTS} redirects")

    def cancel(self) -> None:
        """End everything. Callable from any thread."""
        with self._lock:
            self._cancelled = True
            for connection in self._open:
                if connection.sock is not None:
                    _shut(connection.sock)

    @contextmanager
    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | BinaryIO, length: int | None
    ) -> Iterator[Answer]:
        parts = check_url(url)
        connection = self._connection(parts)
        with self._lock:
            if self._cancelled:
                raise BuildFailed("the build was cancelled")
            self._open.add(connection)
        try:
            response = self._exchange(connection, method, parts, headers, body, length)
            yield Answer(url, response, self._silence)
        except Lost as error:
            if self._cancelled:
                raise BuildFailed("the build was cancelled") from error
            raise
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        parts: SplitResult,
        headers: Mapping[str, str],
        body: bytes | BinaryIO,
        length: int | None,
    ) -> http.client.HTTPResponse:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        size = {"Content-Length": str(len(body) if isinstance(body, bytes) else length)}
        sizes = size if body or method in ("POST", "PUT", "PATCH") else {}
        try:
            connection.request(method, target, body or None, {"User-Agent": "penstock", **headers, **sizes})
            return connection.getresponse()
        except ssl.SSLCertVerificationError as error:
            raise BuildFailed(
                f"{parts.netloc}: its certificate cannot be trusted: {error.verify_message}; an authority of your own is named by"
                " SSL_CERT_FILE"
            ) from error
        except ssl.SSLError as error:
            raise BuildFailed(
                f"{parts.netloc}: does not speak TLS: {error.reason or error}; name it in {_INSECURE} if it shall not"
            ) from error
        except TimeoutError as error:
            raise Lost(f"{parts.netloc}: does not answer within {self._silence:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise Lost(f"{parts.netloc}: cannot be reached: {_reason(error)}") from error
        except ValueError as error:
            raise BuildFailed(f"{parts.netloc}: cannot be asked: {error}") from error

    def _connection(self, parts: SplitResult) -> http.client.HTTPConnection:
        host = parts.hostname or ""
        if parts.scheme == "https":
            return http.client.HTTPSConnection(host, parts.port, timeout=self._silence, context=self._context)
        return http.client.HTTPConnection(host, parts.port, timeout=self._silence)


def is_plain(registry: str, environ: Mapping[str, str]) -> bool:
    """Whether a registry is spoken to without TLS: one of this machine, or one that $PENSTOCK_INSECURE_REGISTRIES names."""
    named = {name.strip() for name in environ.get(_INSECURE, "").split(",")}
    host = urlsplit(f"//{registry}").hostname or ""
    return registry in named or host in named or is_loopback(host)


def check_url(url: str) -> SplitResult:
    """The parts of a URL that came from a registry. Raises BuildFailed."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError as error:
        raise BuildFailed(f"the registry sends us to {url[:200]!r}, which is no URL") from error
    if not usable or not url.isascii() or any(char <= " " or char == "\x7f" for char in url):
        raise BuildFailed(f"the registry sends us to {url[:200]!r}, which is no URL")
    return parts


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def join(url: str, location: str) -> str:
    """Where a header Location leads. Raises BuildFailed for one that is none."""
    try:
        target = urljoin(url, location)
    except ValueError as error:
        raise BuildFailed(f"the registry sends us to {location[:200]!r}, which is no URL") from error
    check_url(target)
    return target


def same_host(one: str, other: str) -> bool:
    """Whether two URLs have the same scheme, host and port."""
    return check_url(one)[:2] == check_url(other)[:2]


def _redirected(url: str, location: str, headers: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    target = join(url, location)
    if not location or (check_url(url).scheme == "https" and check_url(target).scheme != "https"):
        raise BuildFailed(f"{url}: leads to {location[:200]!r}, which is not as safe")
    kept = {name: value for name, value in headers.items() if same_host(url, target) or name != "Authorization"}
    return target, kept


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended by itself
        return


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
