"""The bytes of a stack file, from this machine or from the web.

Called by `load`. The one place of this room that opens a connection: http and https only, at most MAX_BYTES in MAX_SECONDS.
"""

from __future__ import annotations

import os
import re
import stat
import time
from http.client import HTTPException
from urllib import request
from urllib.error import HTTPError, URLError

from penstock.errors import InvalidInput, NotFound, PenstockError
from penstock.stack.document import MAX_BYTES, check_size

STDIN = "-"
STDIN_NAME = "stdin"
"""What messages call it."""
_DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d{1,9})", re.ASCII)
MAX_SECONDS = 60.0
"""For a whole download; the original waits twice as long for the first byte."""
_STEP_SECONDS = 15.0
"""For one step of it, such as the connection."""
_CHUNK = 1 << 16


def is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


def is_stream(source: str) -> bool:
    """Whether a source is stdin, or something that a shell holds open (`<(…)`), so that it can be read once only."""
    return _held(source) is not None


def read(path: str | os.PathLike[str], file: str) -> bytes:
    """A file's bytes, MAX_BYTES at most; those of stdin for STDIN.

    Raises NotFound, TooLarge, PenstockError; InvalidInput for what is not a file, such as a pipe that perhaps nobody writes to.
    """
    try:
        with open(_opened(path, file), "rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise NotFound(f"{file}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise PenstockError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    check_size(data, file)
    return data


def _opened(path: str | os.PathLike[str], file: str) -> int:
    """A descriptor to read from. Opening it does not wait for anybody."""
    held = _held(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) if held is None else os.dup(held)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise InvalidInput(f"{file}: is a folder, not a file")
        if held is None and not stat.S_ISREG(mode):
            kind = "a named pipe" if stat.S_ISFIFO(mode) else "a device"
            raise InvalidInput(f"{file}: is {kind}, not a file; what a program writes is read from stdin, with -f -")
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _held(path: str | os.PathLike[str]) -> int | None:
    """The descriptor of ours that a path stands for."""
    text = os.fspath(path)
    if text in (STDIN, "/dev/stdin"):
        return 0
    found = _DESCRIPTOR.fullmatch(text)
    return int(found[1]) if found else None


def download(url: str) -> bytes:
    """What a URL answers with status 200, after redirects. Raises TooLarge, PenstockError for all that goes wrong on the way."""
    deadline = time.monotonic() + MAX_SECONDS
    parts: list[bytes] = []
    size = 0
    try:
        with _opener().open(request.Request(url), timeout=_STEP_SECONDS) as answer:  # noqa: S310 - its handlers know http only
            if answer.status != 200:
                raise PenstockError(f"{url}: answered {answer.status} {answer.reason}, not a file")
            while size <= MAX_BYTES and (chunk := answer.read1(_CHUNK)):
                parts.append(chunk)
                size += len(chunk)
                if time.monotonic() > deadline:
                    raise PenstockError(f"{url}: took longer than {MAX_SECONDS:g} s")
    except HTTPError as error:
        raise PenstockError(f"{url}: answered {error.code} {error.reason}, not a file") from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise PenstockError(f"{url}: cannot be read: {getattr(error, 'reason', None) or error}") from error
    data = b"".join(parts)
    check_size(data, url)
    return data


def _opener() -> request.OpenerDirector:
    """One that speaks http and https and nothing else: no `file:` behind a redirect."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
