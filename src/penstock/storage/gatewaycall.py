"""Calls functions with events through a gateway worker of this machine, as any client would, so that they have the same limits.

`storage.delivery` decides what an answer means; here it is only read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType

import aiohttp
from yarl import URL

from penstock.storage.delivery import Outcome

CONNECT_TIMEOUT = 10.0
MOST_REASON = 200
"""Bytes of an answer that says why."""


class GatewayCaller:
    """A context manager. `authorization` opens what the gateway guards, empty where it guards nothing; `longest` says for how many
    seconds a function may be waited for, 0 for any."""

    def __init__(self, base: str, authorization: str, longest: Callable[[str], float]) -> None:
        self._base = URL(base)
        self._headers = {"Authorization": authorization} if authorization else {}
        self._longest = longest
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> GatewayCaller:
        self._session = aiohttp.ClientSession(
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0, force_close=True),  # one that was idle may be closed at any moment
            headers={"Accept-Encoding": "identity", "User-Agent": "penstock-events"},
            skip_auto_headers=("Content-Type",),  # the function gets the object's
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def call(self, function: str, headers: Mapping[str, str]) -> Outcome:
        """One call; whatever goes wrong is its outcome."""
        if self._session is None:
            return Outcome(0, "the process is ending", reached=False)
        total = self._longest(function) or None
        timeout = aiohttp.ClientTimeout(total=total, sock_connect=CONNECT_TIMEOUT)
        url = self._base / "function" / function
        try:
            async with self._session.post(
                url, headers={**self._headers, **headers}, timeout=timeout, allow_redirects=False
            ) as answer:
                return await _outcome(answer)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return Outcome(0, f"no gateway worker answers: {error}", reached=False)
        except TimeoutError:
            return Outcome(0, f"no answer within {total or 0:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Outcome(0, f"the call was cut: {type(error).__name__}: {error}")


async def _outcome(answer: aiohttp.ClientResponse) -> Outcome:
    """Read the answer to its end, since a function whose answer nobody reads is cut off."""
    start = bytearray()
    async for piece in answer.content.iter_any():
        if len(start) < MOST_REASON:
            start += piece[: MOST_REASON - len(start)]
    words = start.decode(errors="replace").strip()
    wish = answer.headers.get("Retry-After", "")
    seconds = float(wish) if wish.isascii() and wish.isdigit() and len(wish) < 10 else 0.0
    return Outcome(answer.status, f"{answer.status}: {words}" if words else str(answer.status), seconds)
