"""Whether a replica's function port passes a check: one tiny GET over a unix or TCP socket.

Handed to the local provider, which itself speaks no HTTP. It tells good from bad and bad's reason; how often to ask, and what
follows, is the provider's business.
"""

from __future__ import annotations

import asyncio

from penstock.core.health import READY_PATH, Check

_REQUEST = "GET %s HTTP/1.1\r\nHost: localhost\r\nUser-Agent: kube-probe/penstock\r\nConnection: close\r\n\r\n"
"""Watchdogs, ours and the originals, write no access line for a `kube-probe` (contract watchdog §2.2)."""
_MOST = 16384
"""Bytes of the answer that are looked at."""
_REASON = 4000
"""Characters of the body that become the reason: the traceback of a failed import fits. Lists show its first line."""
_DEFAULT = Check()
_FULL = 429


async def probe(address: str, check: Check = _DEFAULT) -> bool | str:
    """True when the replica at `unix:/path` or `host:port` passes the check, else why it does not.

    Good statuses are 2xx and 3xx. `passes="alive"` adds 429: a replica that is full is well. `passes="any"` is for images that
    run as they are, without a watchdog: their programs know no `/_/ready` and answer 404, so every answer below 500 shows that
    they serve.
    """
    answer = bytearray()
    try:
        # Not wait_for: before Python 3.12 that may swallow the cancellation of a probe nobody wants any more.
        async with asyncio.timeout(check.timeout):
            await _ask(address, check, answer)
    except TimeoutError:
        if b"\r\n\r\n" not in answer:  # else it answers, and keeps the connection open behind it
            return f"its port does not answer within {check.timeout:g} s"
    except (FileNotFoundError, ConnectionRefusedError):
        return "its port is not open yet"
    except OSError as error:
        return f"its port cannot be reached: {error.strerror or error}"
    except ValueError:
        return f"{address!r} is not an address"
    return _judge(bytes(answer), check)


async def _ask(address: str, check: Check, answer: bytearray) -> None:
    """Read into `answer` until it is known to be good, or whole."""
    if address.startswith("unix:"):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    else:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    try:
        writer.write((_REQUEST % check.path).encode("ascii"))
        while len(answer) < _MOST and (data := await reader.read(_MOST)):
            answer += data
            if b"\r\n\r\n" in answer and _judge(bytes(answer), check) is True:
                return
    finally:
        writer.close()


def _judge(answer: bytes, check: Check) -> bool | str:
    head, _, body = answer.partition(b"\r\n\r\n")
    parts = head.split(b"\r\n", 1)[0].split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not (len(parts[1]) == 3 and parts[1].isdigit()):
        return "its port answers with something that is not HTTP"
    status = int(parts[1])
    if 200 <= status < 400 or (check.passes == "alive" and status == _FULL) or (check.passes == "any" and status < 500):
        return True
    text = shorten(body.decode("utf-8", "replace").strip())
    if check.path == READY_PATH and check.passes == "success":
        return text or f"its readiness check answers {status}"  # a watchdog's own words are a sentence
    return f"{check.path} answers {status}" + (f": {text}" if text and not text.startswith("<") else "")


def shorten(text: str) -> str:
    """A reason of a bearable length: the first line is the sentence, and the last ones of a traceback say most."""
    if len(text) <= _REASON:
        return text
    first, _, rest = text.partition("\n")
    first = first[: _REASON // 2]
    return f"{first}\n...\n{rest[-(_REASON - len(first) - 5) :]}" if rest else first
