"""`penstock invoke`: stdin goes to a function, its answer comes to stdout, as it comes and byte for byte.

Everything else goes to stderr, and the exit code tells. Gateway credentials are never sent: a function must not see them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import stat
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import BinaryIO

import click

from penstock.cli.client import Gateway, segment, talk
from penstock.cli.commands import Verb
from penstock.cli.options import connected, namespace_option, note, split_pair
from penstock.cli.target import Target
from penstock.errors import InvalidInput, PenstockError

BLOCK = 1 << 16
"""Bytes read from stdin at a time: what a pipe holds by default on Linux (pipe(7))."""
_MAX_ERROR = 1 << 16
"""Bytes of an error answer that are shown."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
"""A method or header name (RFC 9110 §5.6.2)."""


class FileBody:
    """The rest of a regular file, whose length is known; bytes appended meanwhile are not sent."""

    def __init__(self, descriptor: int, size: int) -> None:
        self.descriptor = descriptor
        self.size = size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self.size
        while left and (block := os.read(self.descriptor, min(left, BLOCK))):
            left -= len(block)
            yield block
        if left:
            raise PenstockError("the file on stdin became shorter while it was being sent")


async def pipe_blocks(descriptor: int) -> AsyncIterator[bytes]:
    """What arrives on a pipe, terminal or socket, as it arrives.

    Waits by the loop and then reads: setting the descriptor to non-blocking would change it for the programs it is shared with.
    """
    loop = asyncio.get_running_loop()
    while True:
        readable: asyncio.Future[None] = loop.create_future()
        try:
            loop.add_reader(descriptor, _wake, readable)
        except PermissionError:  # /dev/zero and others that epoll does not know are always readable
            await asyncio.sleep(0)
        else:
            try:
                await readable
            finally:
                loop.remove_reader(descriptor)
        block = os.read(descriptor, BLOCK)
        if not block:
            return
        yield block


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


Body = bytes | FileBody | AsyncIterator[bytes] | None
"""None: the request has no body."""


@dataclass(frozen=True)
class Call:
    """One invocation, ready to be sent."""

    method: str
    path: str
    params: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    data: Body


@click.command("invoke", cls=Verb)
@click.argument("name")
@click.option("-m", "--method", default="POST", show_default=True, help="HTTP method.")
@click.option("--content-type", default="text/plain", show_default=True, metavar="TYPE", help="Type of the body.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'K: V'", help="Header; may be given many times.")
@click.option("--query", "query", multiple=True, metavar="K=V", help="Query parameter; may be given many times.")
@click.option("-a", "--async", "later", is_flag=True, help="Queue the call and return at once.")
@click.option("--sign", metavar="HEADER", help="Header for an HMAC of the body; the body is gathered first.")
@click.option("--key", metavar="KEY", help="Key for --sign.")
@namespace_option
@connected(token=False, timeout="0", timeout_help="Longest wait for the end of the answer; 0 waits for ever.")
def command(
    target: Target,
    name: str,
    method: str,
    content_type: str,
    headers: tuple[str, ...],
    query: tuple[str, ...],
    later: bool,
    sign: str | None,
    key: str | None,
) -> int:
    """Call a function: stdin is the request body, stdout the answer.

    Both are streamed, so neither needs to fit in memory and a function may answer while it is still being fed. The exit
    code is 0 for an answer of class 2xx and 1 for any other, whose status and body are shown on stderr.

    \b
    Examples:
      echo one two three | penstock invoke words
      penstock invoke shrink < big.png > small.png
      cat access.log | penstock invoke sort | penstock invoke uniq
      penstock invoke site --method GET --query page=2 < /dev/null
    """
    verb = _token(method.upper(), "--method")
    if later and verb != "POST":
        raise InvalidInput("--async calls are always POST")
    if (sign is None) != (key is None):
        raise InvalidInput("--sign HEADER and --key KEY belong together")
    fields = _fields(headers, content_type)
    signature = _token(sign, "--sign") if sign is not None else ""
    params = [split_pair(text, "--query") for text in query]
    suffix = f".{segment(target.namespace)}" if target.namespace else ""
    path = f"/{'async-function' if later else 'function'}/{segment(name)}{suffix}"
    if sys.stdout is None:
        raise PenstockError("stdout is closed, there is nowhere to write the answer to")
    data = _body(verb)  # last: nobody should type a body for a call that cannot be made
    if signature:
        data = asyncio.run(_gather(data))
        fields.append((signature, f"sha256={hmac.new((key or '').encode(), data, hashlib.sha256).hexdigest()}"))
    if isinstance(data, FileBody):
        fields.append(("Content-Length", str(data.size)))
    call = Call(verb, path, params, fields, data)
    return talk(target, lambda gateway: _invoke(gateway, call, sys.stdout.buffer))


async def _invoke(gateway: Gateway, call: Call, out: BinaryIO) -> int:
    async with gateway.stream(
        call.method, call.path, params=call.params, headers=call.headers, data=call.data
    ) as response:
        if 200 <= response.status < 300:
            async for piece in response.content.iter_any():
                out.write(piece)
                out.flush()
            if response.status == 202 and call.path.startswith("/async-function/"):
                call_id = response.headers.get("X-Call-Id", "")
                note("Function submitted asynchronously." + (f" Call id: {call_id}" if call_id else ""))
            return 0
        note(f"Server returned unexpected status code: {response.status}")
        body = b""
        while len(body) < _MAX_ERROR and (piece := await response.content.read(_MAX_ERROR - len(body))):
            body += piece
        click.echo(body, err=True, nl=bool(body) and not body.endswith(b"\n"))
        return 1


def _body(method: str) -> Body:
    """The request body: stdin as it comes. None where there is no stdin, or a terminal for a method that needs no body."""
    if sys.stdin is None:
        return None
    descriptor = sys.stdin.fileno()
    if os.isatty(descriptor):
        if method in ("GET", "HEAD"):
            return None
        note("Reading the request body from the terminal, end it with Ctrl-D.")
    mode = os.fstat(descriptor)
    if stat.S_ISCHR(mode.st_mode) and mode.st_rdev == os.stat(os.devnull).st_rdev:
        return None
    if stat.S_ISREG(mode.st_mode):
        return FileBody(descriptor, max(0, mode.st_size - os.lseek(descriptor, 0, os.SEEK_CUR)))
    return pipe_blocks(descriptor)


async def _gather(data: Body) -> bytes:
    if data is None or isinstance(data, bytes):
        return data or b""
    return b"".join([block async for block in data])


def _fields(headers: tuple[str, ...], content_type: str) -> list[tuple[str, str]]:
    """Header fields in the order given; what `-H` says replaces the default Content-Type. Raises InvalidInput."""
    fields = [_header(text) for text in headers]
    if not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", _value(content_type, "--content-type")))
    return fields


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidInput(f"--header {text!r}: write it as 'Name: value'")
        note(f"Warning: write headers as 'Name: value', not {text!r}.")
    name = _token(name.strip(), "--header")
    if name.lower() in ("content-length", "transfer-encoding"):
        raise InvalidInput(f"--header {name}: follows from the body and cannot be given")
    return name, _value(value.strip(), f"--header {name}")


def _value(text: str, flag: str) -> str:
    if not text.isprintable():
        raise InvalidInput(f"{flag}: {text!r} holds characters that a header cannot carry")
    return text


def _token(text: str, flag: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise InvalidInput(f"{flag}: {text!r} is empty or holds characters that are not allowed there")
    return text
