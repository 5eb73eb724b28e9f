"""Whether a replica's function port answers: one tiny `GET /_/ready` over a unix or TCP socket.

Handed to the local provider, which itself speaks no HTTP. It tells ready from not ready and not ready's reason; retrying is
the provider's business.
"""

from __future__ import annotations

import asyncio

_REQUEST = b"GET /_/ready HTTP/1.1\r\nHost: localhost\r\nUser-Agent: penstock-probe\r\nConnection: close\r\n\r\n"
_MOST = 16384
"""Bytes of the answer that are looked at."""
_REASON = 4000
"""Characters of the body that become the reason: the traceback of a failed import fits. Lists show its first line."""
TIMEOUT = 2.0
"""Seconds for one probe as a whole; a watchdog answers within a millisecond."""


async def probe(address: str, timeout: float = TIMEOUT) -> bool | str:
    """True when the replica at `unix:/path` or `host:port` answers 200, else why it does not."""
    try:
        # Not wait_for: before Python 3.12 that may swallow the cancellation of a probe nobody wants any more.
        async with asyncio.timeout(timeout):
            return await _ask(address)
    except TimeoutError:
        return f"its port does not answer within {timeout:g} s"
    except (FileNotFoundError, ConnectionRefusedError):
        return "its port is not open yet"
    except OSError as error:
        return f"its port cannot be reached: {error.strerror or error}"
    except ValueError:
        return f"{address!r} is not an address"


async def _ask(address: str) -> bool | str:
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        writer.write(_REQUEST)
        answer = b""
        while len(answer) < _MOST and (data := await reader.read(_MOST)):
            answer += data
    finally:
        writer.close()
    return _judge(answer)


def _judge(answer: bytes) -> bool | str:
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(status) < 2 or not status[0].startswith(b"HTTP/1."):
        return "its port answers with something that is not HTTP"
    if status[1] == b"200":
        return True
    text = shorten(body.decode("utf-8", "replace").strip())
    return text or f"its readiness check answers {status[1].decode('ascii', 'replace')}"


def shorten(text: str) -> str:
    """A reason of a bearable length: the first line is the sentence, and the last ones of a traceback say most."""
    if len(text) <= _REASON:
        return text
    first, _, rest = text.partition("\n")
    first = first[: _REASON // 2]
    return f"{first}\n...\n{rest[-(_REASON - len(first) - 5) :]}" if rest else first
