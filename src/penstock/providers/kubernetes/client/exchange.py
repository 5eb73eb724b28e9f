"""One request to the API server and its answer, over a connection that may break, with whatever may be in between. Used by `api`.

Here is decided what is asked again, for how long and how much of an answer is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import httpx2
import msgspec

from penstock.errors import PenstockError
from penstock.providers.kubernetes.client.answers import (
    MAX_OBJECT,
    Allowance,
    Document,
    decoded,
    lines_of,
    read_refusal,
)
from penstock.providers.kubernetes.client.connect import TIMEOUT, Connection
from penstock.providers.kubernetes.client.errors import ApiTooLong, ApiUnavailable, CredentialsUnavailable, refusal

JSON = "application/json"
PATIENCE = 10.0
"""Seconds in which a request that may be repeated is tried again."""
DEADLINE = 60.0
"""Seconds for a whole answer that is no stream; API servers themselves give up after as many."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


@dataclass(frozen=True)
class Request:
    """`asked` is for people, `rule` what allows it. `repeat`: whether to make it twice is the same as once."""

    method: str
    path: str
    asked: str
    rule: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    body: Document | None = None
    content: str = JSON
    repeat: bool = True

    @property
    def reads(self) -> bool:
        return self.method == "GET"


class _Refusal(NamedTuple):
    """An answer of 400 or more."""

    status: int
    retry_after: str
    body: bytes


class Exchange:
    """With one API server. Everything raises ApiUnavailable when it does not answer, and ApiRefused."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.url = str(connection.client.base_url).rstrip("/")

    async def close(self) -> None:
        await self._connection.close()

    async def ask(self, request: Request, allowance: Allowance | None = None) -> Document:
        """The answer; `allowance` is of several together."""
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + PATIENCE, _FIRST_PAUSE
        while True:
            try:
                answer = await self._send(request, allowance or Allowance(MAX_OBJECT))
            except (CredentialsUnavailable, ApiTooLong):
                raise
            except ApiUnavailable:
                if not request.repeat or loop.time() + pause > deadline:
                    raise
                wait = pause
            else:
                if not isinstance(answer, _Refusal):
                    return decoded(answer, request.asked)
                wait = max(pause, _seconds(answer.retry_after))
                if not _may_be_asked_again(request, answer) or loop.time() + wait > deadline:
                    raise self._error(request, answer)
            await asyncio.sleep(wait * random.uniform(0.8, 1.2))  # many do not come back at once
            pause = min(pause * 2, _LONGEST_PAUSE)

    @contextlib.asynccontextmanager
    async def lines(self, request: Request, silence: float | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """The lines of a long answer; `silence`: seconds without one after which it is given up."""
        client = self._connection.client
        built = client.build_request(
            "GET", request.path, params=dict(request.query), headers={"Accept": f"{JSON}, */*"}
        )
        built.extensions["timeout"] = {**httpx2.Timeout(TIMEOUT).as_dict(), "read": silence}
        with self._unavailable():
            answer = await client.send(built, stream=True)
        try:
            if answer.status_code >= 300:
                with self._unavailable():
                    raise self._error(request, await _refusal(answer))
            async with contextlib.aclosing(lines_of(self._pieces(answer))) as lines:
                yield lines
        finally:
            await answer.aclose()

    # Steps

    async def _send(self, request: Request, allowance: Allowance) -> bytes | _Refusal:
        data = msgspec.json.encode(request.body) if request.body is not None else None
        headers = {"Accept": JSON, **({"Content-Type": request.content} if data is not None else {})}
        client = self._connection.client
        built = client.build_request(
            request.method, request.path, params=dict(request.query), content=data, headers=headers
        )
        with self._unavailable():
            async with asyncio.timeout(DEADLINE):
                answer = await client.send(built, stream=True)
                try:
                    if answer.status_code >= 300:
                        return await _refusal(answer)
                    return await allowance.read(answer.aiter_bytes(), request.asked)
                finally:
                    await answer.aclose()

    async def _pieces(self, answer: httpx2.Response) -> AsyncIterator[bytes]:
        with self._unavailable():
            async for piece in answer.aiter_bytes():
                yield piece

    @contextlib.contextmanager
    def _unavailable(self) -> Iterator[None]:
        """Whatever the library says of a connection, in one kind of error."""
        try:
            yield
        except TimeoutError as error:
            raise ApiUnavailable(
                f"the Kubernetes API at {self.url} does not end its answer within {DEADLINE:g} s"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
            what = str(error).strip() or type(error).__name__
            raise ApiUnavailable(f"the Kubernetes API at {self.url} does not answer: {what}") from error

    def _error(self, request: Request, answer: _Refusal) -> PenstockError:
        error = refusal(
            answer.status, answer.body, request.asked, request.rule, self._connection.who, write=not request.reads
        )
        if answer.status in (429, 502, 503, 504) and not isinstance(error, ApiUnavailable):
            return ApiUnavailable(f"the Kubernetes API at {self.url} has no time: {error}")
        return error


def _may_be_asked_again(request: Request, answer: _Refusal) -> bool:
    """Whether that does no harm, and may help.

    429 comes from before anything is done (API Priority and Fairness, its forerunner, a server that ends), and so does a 503 that says
    when to come back, by which API servers that begin or end turn away. All other statuses of 5xx may be told of what was done:
    whoever sent them may have lost the answer; so only what is the same when it is done twice is asked again. Of these a 500
    is worth it when nothing but reading fails, or where it names a time; else it is an admission webhook that stays broken.
    """
    named = bool(_seconds(answer.retry_after) or answer.retry_after.strip() == "0")
    match answer.status:
        case 429:
            return True
        case 503:
            return request.repeat or named
        case 502 | 504:
            return request.repeat
        case 500:
            return request.reads or (request.repeat and named)
    return False


async def _refusal(answer: httpx2.Response) -> _Refusal:
    return _Refusal(answer.status_code, answer.headers.get("retry-after", ""), await read_refusal(answer.aiter_bytes()))


def _seconds(text: str) -> float:
    """Of a header; 0 for what is no number."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0.0
