"""Nobody ever gets somebody else's answer: clients and replicas that misbehave at random, through one worker."""

from __future__ import annotations

import asyncio
import contextlib
import random

import h11
import pytest

from tests.unit.gateway.support import DEADLINE, Client, Gateway, eventually

CLIENTS, REQUESTS = 24, 20


class Replica:
    """Echoes path and body on kept-alive connections, and misbehaves in every way that a program can."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ValueError, asyncio.CancelledError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1]
        mood = self._chance.random()
        if mood < 0.04:
            return False
        if mood < 0.08:  # an answer before the body, and then the connection is gone
            await self._answer(writer, b"early " + path)
            return False
        body = await _body(reader, head)
        if mood < 0.12:
            await asyncio.sleep(self._chance.random() * 0.02)
        if mood < 0.16:  # cut in the middle
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart")
            await writer.drain()
            return False
        if mood < 0.18:
            writer.write(b"\x00\x00\x00 nonsense\r\n\r\n")
            await writer.drain()
            return False
        await self._answer(writer, path + b" " + body)
        if mood < 0.22:  # closes without having said so
            return False
        if mood < 0.24:  # says more than it was asked
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nextra")
            await writer.drain()
        return True

    async def _answer(self, writer: asyncio.StreamWriter, body: bytes) -> None:
        if self._chance.random() < 0.5:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        else:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            middle = self._chance.randint(0, len(body))
            for piece in (body[:middle], body[middle:]):
                if piece:
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
            writer.write(b"0\r\n\r\n")
        await writer.drain()


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
        return body
    if b"content-length: " in lower:
        return await reader.readexactly(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
    return b""


async def one_client(gateway: Gateway, number: int, chance: random.Random) -> int:
    """Requests one after another, some of them given up; how many whole answers came."""
    client = await gateway.client()
    good = 0
    for round_ in range(REQUESTS):
        path, body = f"/{number}/{round_}", f"<{number}.{round_}>".encode() * chance.choice([1, 1, 1, 2000])
        give_up = chance.random() < 0.15
        try:
            reusable = await _request(client, path, body, chance, give_up)
            if reusable is not None:
                answer = await client.answer()
                if answer.status == 200 and answer.complete:
                    assert answer.body in (path.encode() + b" " + body, b"early " + path.encode())
                    good += 1
        except (h11.LocalProtocolError, h11.RemoteProtocolError, ConnectionError):
            reusable = None
        if reusable is None or client.h11.our_state is not h11.IDLE:
            client.close()
            client = await gateway.client()
    return good


async def _request(client: Client, path: str, body: bytes, chance: random.Random, give_up: bool) -> bool | None:
    """Send a request in some way; None when it was given up in its middle."""
    chunked = chance.random() < 0.5
    framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
    client.begin("POST", f"/function/x{path}", [("Host", "a"), framing])
    middle = chance.randint(0, len(body))
    if middle:
        client.write(body[:middle])
    if chance.random() < 0.3:
        await asyncio.sleep(chance.random() * 0.01)
    if give_up:
        return None
    if middle < len(body):
        client.write(body[middle:])
    client.end()
    return True


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("slots", [0, 2])
async def test_every_whole_answer_is_the_one_to_its_request(gateway: Gateway, seed: int, slots: int) -> None:
    chance = random.Random(seed)
    addresses = [await gateway.raw_replica(Replica(chance).serve) for _ in range(3)]
    await gateway.deploy("x.openfaas-fn", *addresses, max_inflight=slots)
    function = gateway.worker.routes.find(b"x")
    assert function is not None
    async with asyncio.timeout(DEADLINE * 8):
        good = await asyncio.gather(
            *[one_client(gateway, number, random.Random(seed * 1000 + number)) for number in range(CLIENTS)]
        )
    assert sum(good) > CLIENTS * REQUESTS / 4
    await eventually(lambda: function.inflight == 0 and not function.waiting, "everything to be over")
    assert function.counters.inflight == 0
    assert [replica.inflight for replica in function.replicas] == [0, 0, 0]
