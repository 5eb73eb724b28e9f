"""The remote builder: another machine gets the context, builds the image and pushes it (contract watchdog-cli §4.4, Remote builder).

Chosen by `penstock.cli.remotebuilding`. A request is signed with a secret that both know; secrets of a build are sealed for the
builder's key. It has no cache that we could ask, so every build counts as one.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import BinaryIO
from urllib.parse import SplitResult, urlsplit

import msgspec

from penstock.builders import watchdogimage
from penstock.builders.context import assemble
from penstock.builders.docker import read_dockerfile
from penstock.builders.model import BuildRequest, Built, Progress
from penstock.builders.plan import PACKAGES
from penstock.builders.program import KEPT
from penstock.builders.remotepayload import Config, pack, secret_values, sign
from penstock.builders.scratch import scratch_folder
from penstock.core.shown import shown
from penstock.errors import BuildFailed, InvalidInput, NotSupported, Unauthorized
from penstock.providers.containers.reference import parse

CONNECT_TIMEOUT = 10.0
"""Seconds to open a connection."""
SILENCE = 1800.0
"""Seconds without a line until a builder counts as dead: a compiler may be silent for long."""
MOST_LINE = 4 << 20
"""Bytes of one line of an answer."""
MOST_ANSWER = 64 << 10
"""Bytes of any other answer."""
_MOST_SHOWN = 1000
"""Characters of a builder's reason for a refusal."""
ALGORITHM = "nacl/box"

Seal = Callable[[str, Mapping[str, bytes]], bytes]
"""An envelope of secrets for a public key."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an answer."""

    log: list[str] | None = None
    image: str = ""
    status: str = ""
    error: str = ""


class PublicKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a builder says of its key."""

    algorithm: str
    public_key: str
    key_id: str = ""


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """A remote builder, and how it is to be spoken to."""

    url: str
    """Only scheme, host and port count."""
    secret: bytes
    """What requests are signed with."""
    public_key: str = ""
    """For which secrets of builds are sealed, in base64; empty: the builder is asked for it."""
    push: bool = True
    """Whether images go to their registries."""


class RemoteBuilder:
    """See `penstock.builders.model.ImageBuilder`."""

    name = "remote"
    makes_images = True

    def __init__(self, environ: Mapping[str, str], remote: Remote, seal: Seal) -> None:
        """Raises InvalidInput for a URL that is none."""
        self._environ = environ
        self._remote = remote
        self._seal = seal
        self._client = _Client(remote.url)

    def build(self, request: BuildRequest, progress: Progress) -> Built:
        """Have it built, and pushed unless that is not wanted."""
        started = time.monotonic()
        context = assemble(request)
        if watchdogimage.wanted(request, read_dockerfile(context)):
            raise NotSupported(
                "the watchdog of this installation is on this machine alone; name an image of it that the remote builder can"
                f" pull: --build-arg {watchdogimage.ARGUMENT}=registry.example.com/penstock-watchdog"
            )
        config = Config(
            image=request.image,
            build_args={name: value for name, value in request.build_args.items() if value or name != PACKAGES},
            platforms=request.platforms,
            skip_push=not self._remote.push,
        )
        secrets = self._sealed(request)
        with scratch_folder(self._environ) as folder, (folder / "request.tar").open("w+b") as file:
            pack(file, context, config, secrets)
            size = file.tell()
            file.seek(0)
            signature = sign(file, self._remote.secret)
            file.seek(0)
            progress(f"sending {size >> 10} KiB to {self._client.shown}")
            image = self._ask(file, size, signature, progress)
        return Built(function=request.function.name, image=image or request.image, seconds=time.monotonic() - started)

    def push(self, image: str, progress: Progress) -> None:
        """Nothing: the builder has done it."""

    def publish(self, request: BuildRequest, names: Sequence[str], progress: Progress) -> None:
        """Build under each name; a builder does all platforms at once."""
        for name in names:
            self.build(msgspec.structs.replace(request, image=name), progress)

    def cancel(self) -> None:
        """See `penstock.builders.model.Builder`. The builder sees that nobody listens any more."""
        self._client.cancel()

    def _sealed(self, request: BuildRequest) -> bytes:
        files = request.function.build_secrets
        if not files:
            return b""
        return self._seal(self._remote.public_key or self._ask_for_key(), secret_values(files))

    def _ask_for_key(self) -> str:
        with self._client.request("GET", "/publickey", {"Accept": "application/json"}) as response:
            _check(response, self._client.shown)
            try:
                key = msgspec.json.decode(response.read(MOST_ANSWER), type=PublicKey)
            except msgspec.MsgspecError as error:
                raise BuildFailed(
                    f"{self._client.shown}: says nothing usable of its public key ({error}); give it by --builder-public-key"
                ) from error
        if key.algorithm != ALGORITHM:
            raise NotSupported(
                f"{self._client.shown}: its key is for {key.algorithm!r}; secrets can be sealed by {ALGORITHM} alone"
            )
        return key.public_key

    def _ask(self, file: BinaryIO, size: int, signature: str, progress: Progress) -> str:
        """The name of the image that was built."""
        headers = {
            "X-Build-Signature": signature,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(size),
            "Accept": "application/x-ndjson",
        }
        with self._client.request("POST", "/build", headers, file) as response:
            _check(response, self._client.shown)
            return _outcome(response, self._client.shown, progress)


def _outcome(response: http.client.HTTPResponse, builder: str, progress: Progress) -> str:
    """Read an answer to its end, telling of it; the image's name. Raises BuildFailed with the builder's log."""
    words = ""
    last = Result()
    while line := response.readline(MOST_LINE + 1):
        if len(line) > MOST_LINE:
            raise BuildFailed(f"{builder}: answers with a line of more than {MOST_LINE >> 20} MiB", words)
        if not line.strip():
            continue
        try:
            last = msgspec.json.decode(line, type=Result)
        except msgspec.MsgspecError as error:
            start = line[:80].decode(errors="replace").strip()
            raise BuildFailed(f"{builder}: its answer is not what was expected ({error}): {start!r}", words) from error
        for text in last.log or ():
            words = f"{words}{text.rstrip()}\n"[-KEPT:]
            if text.strip():
                progress(text.strip()[:200])
    if last.status == "success":
        return _named(last.image, builder)
    if last.status == "failed":
        raise BuildFailed(
            f"{builder}: the build failed: {shown(last.error[:_MOST_SHOWN]) or 'it gave no reason'}", words
        )
    raise BuildFailed(f"{builder}: its answer ended before the build did", words)


def _named(image: str, builder: str) -> str:
    """The name that a builder says its image has; it may say none. Raises BuildFailed for what can be no name."""
    try:
        if image:
            parse(image)
    except InvalidInput as error:
        raise BuildFailed(f"{builder}: says that it has built {image[:200]!r}, which is no name of an image") from error
    return image


def _check(response: http.client.HTTPResponse, builder: str) -> None:
    if response.status in (200, 202):
        return
    text = shown(response.read(MOST_ANSWER).decode(errors="replace").strip()[:_MOST_SHOWN])
    answer = f"{builder}: answered {response.status} {shown(response.reason)}: {text or 'it gave no reason'}"
    if response.status in (401, 403):
        raise Unauthorized(f"{answer}; --payload-secret must name a file with the secret that the builder has")
    raise BuildFailed(answer)


class _Client:
    """HTTP to one builder, one connection for each request, which another thread can end."""

    def __init__(self, url: str) -> None:
        parts = _judged(url)
        self._host = parts.hostname or ""
        self._port = parts.port
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self.shown = f"{parts.scheme}://{parts.netloc}"
        self._lock = threading.Lock()
        self._open: set[http.client.HTTPConnection] = set()
        self._cancelled = False

    @contextmanager
    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: BinaryIO | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Raises BuildFailed for whatever goes wrong on the way, also while the answer is read."""
        connection = self._connection()
        with self._lock:
            if self._cancelled:
                raise BuildFailed("the build was cancelled")
            self._open.add(connection)
        try:
            connection.connect()
            connection.sock.settimeout(SILENCE)
            with contextlib.suppress(
                BrokenPipeError, ConnectionResetError
            ):  # it may refuse before it has read all, and say why
                connection.request(method, path, body, {"User-Agent": "penstock", **headers})
            yield connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            if self._cancelled:
                raise BuildFailed("the build was cancelled") from error
            raise BuildFailed(f"{self.shown}: {_reason(error)}") from error
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def cancel(self) -> None:
        """End all requests, and all later ones."""
        with self._lock:
            self._cancelled = True
            for connection in self._open:
                if connection.sock is not None:
                    _shut(connection.sock)

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls is not None:
            return http.client.HTTPSConnection(self._host, self._port, timeout=CONNECT_TIMEOUT, context=self._tls)
        return http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_TIMEOUT)


def _judged(url: str) -> SplitResult:
    try:
        parts = urlsplit(url.strip() if "://" in url else f"http://{url.strip()}")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        parts, usable = urlsplit(""), False
    if not usable or not url.isprintable() or not url.isascii():
        raise InvalidInput(f"--remote-builder {url!r}: is no URL; write it like http://builder.example.com:8081")
    if "@" in parts.netloc:
        raise InvalidInput("--remote-builder: carries no user or password; requests are signed with --payload-secret")
    return parts


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has ended by itself
        return


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {error.verify_message}; an authority of your own is named by SSL_CERT_FILE"
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    return (
        f"cannot be reached, or was cut off: {getattr(error, 'strerror', None) or str(error) or type(error).__name__}"
    )
