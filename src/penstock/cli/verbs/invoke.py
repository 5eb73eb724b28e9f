"""`penstock invoke`: stdin goes to a function, its answer comes to stdout, as it comes and byte for byte.

Everything else goes to stderr, and the exit code tells. Gateway credentials are not sent, since a function must not see them,
except beside objects of a store, where the gateway keeps them (`penstock.cli.objectcall`). A function that asks for a token
gets one that is good for it alone (`penstock.cli.tokenexchange`).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

import click
from click.core import ParameterSource

from penstock.cli.client import Gateway, segment, talk
from penstock.cli.commands import Verb
from penstock.cli.objectcall import object_fields
from penstock.cli.options import connected, namespace_option, note, split_pair
from penstock.cli.pipelines import read_pipeline
from penstock.cli.requestbody import Body, FileBody, PipeBody, gathered, stdin_body
from penstock.cli.target import Target, authorization_for
from penstock.cli.tokenexchange import asks_for_exchange, exchange, login_token
from penstock.core.pipelines import resolve_stage
from penstock.errors import InvalidInput, PenstockError
from penstock.model import DEFAULT_NAMESPACE

if TYPE_CHECKING:
    import aiohttp

_MAX_ERROR = 1 << 16
"""Bytes of an error answer that are shown."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
"""A method or header name (RFC 9110 §5.6.2)."""


@dataclass(frozen=True)
class Call:
    """One invocation, ready to be sent."""

    method: str
    path: str
    params: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    data: Body
    audience: str
    """`namespace:function`, for whom a token must be good; empty for a pipeline without a name, which has several."""
    login: str
    """Token that was given for an exchange; empty: that of the saved login."""
    authenticate: bool
    """Whether to exchange it before the first request, and not only when the function asks for it."""


@click.command("invoke", cls=Verb)
@click.argument("name")
@click.option("-m", "--method", default="POST", show_default=True, help="HTTP method.")
@click.option(
    "--content-type",
    default="text/plain",
    show_default=True,
    metavar="TYPE",
    help="Type of the body; none is said of objects.",
)
@click.option("-H", "--header", "headers", multiple=True, metavar="'K: V'", help="Header; may be given many times.")
@click.option("--query", "query", multiple=True, metavar="K=V", help="Query parameter; may be given many times.")
@click.option("--input-object", "source", default="", metavar="s3://BUCKET/KEY", help="Object in place of stdin.")
@click.option("--output-object", "sink", default="", metavar="s3://BUCKET/KEY", help="Object that the answer becomes.")
@click.option("-a", "--async", "later", is_flag=True, help="Queue the call and return at once.")
@click.option("--sign", metavar="HEADER", help="Header for an HMAC of the body; the body is gathered first.")
@click.option("--key", metavar="KEY", help="Key for --sign.")
@click.option("--auth", is_flag=True, help="Get a token for the function first, in exchange for that of the login.")
@click.option(
    "-k", "--token", "login", default="", metavar="TOKEN", help="Token to exchange, in place of a saved login's."
)
@namespace_option
@connected(
    of_stack=True, token=False, timeout="0", timeout_help="Longest wait for the end of the answer; 0 waits for ever."
)
def command(
    target: Target,
    name: str,
    method: str,
    content_type: str,
    headers: tuple[str, ...],
    query: tuple[str, ...],
    source: str,
    sink: str,
    later: bool,
    sign: str | None,
    key: str | None,
    auth: bool,
    login: str,
) -> int:
    """Call a function, or a pipeline of functions: stdin is the request body, stdout the answer.

    Both are streamed, so neither needs to fit in memory and a function may answer while it is still being fed. The exit
    code is 0 for an answer of class 2xx and 1 for any other, whose status and body are shown on stderr.

    A function that asks for a token gets one in exchange for the login's; a body above 1 MiB on a pipe needs --auth for that.

    \b
    Examples:
      echo one two three | penstock invoke words
      penstock invoke shrink < big.png > small.png
      cat access.log | penstock invoke "sort | uniq?count=1"
      penstock invoke shrink --input-object s3://photos/big.png --output-object s3://photos/small.png
    """
    verb = _token(method.upper(), "--method")
    if later and verb != "POST":
        raise InvalidInput("--async calls are always POST")
    if (sign is None) != (key is None):
        raise InvalidInput("--sign HEADER and --key KEY belong together")
    if (source or sink) and (auth or later):
        raise InvalidInput(
            "--input-object and --output-object: such a call carries the login and is answered when it is done"
        )
    if source and sign is not None:
        raise InvalidInput("--sign: there is no body here to sign, it comes from the store")
    fields = _fields(headers, "" if (source or sink) and not _was_given("content_type") else content_type)
    fields += object_fields(source, sink, fields, target, os.environ)
    signature = _token(sign, "--sign") if sign is not None else ""
    params = [split_pair(text, "--query") for text in query]
    if auth and "|" in name:
        raise InvalidInput("--auth: a token is good for one function; deploy the pipeline under a name of its own")
    path = f"/{'async-function' if later else 'function'}/{_named(name, target.namespace)}"
    if sys.stdout is None:
        raise PenstockError("stdout is closed, there is nowhere to write the answer to")
    data = None if source else stdin_body(verb)  # last: nobody should type a body for a call that cannot be made
    if signature:
        data = asyncio.run(gathered(data))
        fields.append((signature, f"sha256={hmac.new((key or '').encode(), data, hashlib.sha256).hexdigest()}"))
    if isinstance(data, FileBody):
        fields.append(("Content-Length", str(data.size)))
    audience = "" if "|" in name else f"{target.namespace or DEFAULT_NAMESPACE}:{name}"
    call = Call(verb, path, params, fields, data, audience=audience, login=login, authenticate=auth)
    return talk(target, lambda gateway: _invoke(gateway, call, sys.stdout.buffer))


async def _invoke(gateway: Gateway, call: Call, out: BinaryIO) -> int:
    if call.authenticate:
        call = await _authenticated(gateway, call)
    async with _sent(gateway, call) as response:
        challenge = response.headers.get("WWW-Authenticate", "")
        if call.authenticate or not asks_for_exchange(response.status, challenge) or not _repeatable(call):
            return await _show(response, call, out)
    async with _sent(gateway, await _authenticated(gateway, call)) as response:
        return await _show(response, call, out)


def _named(name: str, namespace: str) -> str:
    """The name as one segment of a path; of a pipeline each stage, with its own path and query inside. Raises InvalidInput."""
    if "|" not in name:
        return segment(name) + (f".{segment(namespace)}" if namespace else "")
    stages = read_pipeline(name)
    return quote("|".join(resolve_stage(stage, namespace) if namespace else stage for stage in stages), safe="")


def _sent(gateway: Gateway, call: Call) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    # Where no type is named none is sent: one of aiohttp's would replace an input object's, and be that of an output object.
    return gateway.stream(
        call.method,
        call.path,
        params=call.params,
        headers=call.headers,
        data=call.data,
        skip_auto_headers=("Content-Type",),
    )


async def _authenticated(gateway: Gateway, call: Call) -> Call:
    """The call with a token for its function."""
    url = gateway.target.url
    subject = login_token(authorization_for(url, call.login, os.environ), url)
    token = await exchange(gateway, subject, call.audience)
    return replace(call, headers=[*call.headers, ("Authorization", f"Bearer {token}")])


def _repeatable(call: Call) -> bool:
    """Whether the request can be sent a second time, with a token. A header of the user's own is not replaced."""
    if any(name.lower() == "authorization" for name, _ in call.headers) or not call.audience:
        return False
    if isinstance(call.data, PipeBody) and not call.data.complete:
        note("The function asks for a token, and the body is too long to be sent again: call it with --auth.")
        return False
    return True


async def _show(response: aiohttp.ClientResponse, call: Call, out: BinaryIO) -> int:
    """Pass the answer on; the exit code."""
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


def _was_given(parameter: str) -> bool:
    """Whether an option was typed, and not left to its default."""
    source = click.get_current_context().get_parameter_source(parameter)
    return source is not ParameterSource.DEFAULT


def _fields(headers: tuple[str, ...], content_type: str) -> list[tuple[str, str]]:
    """Header fields in the order given; what `-H` says replaces the Content-Type, and an empty one is left out. Raises InvalidInput."""
    fields = [_header(text) for text in headers]
    if content_type and not any(name.lower() == "content-type" for name, _ in fields):
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
