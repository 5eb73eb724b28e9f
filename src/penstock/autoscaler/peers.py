"""What the other gateways of an installation count, so that the one that leads scales by the load of all of them.

The scaler asks once a tick. Names are resolved again and again, since gateways come and go; one that does not answer is believed
to go on as before for some ticks. Sums never shrink: a gateway counts from when it was first heard.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import aiohttp
import msgspec

from penstock.autoscaler.counts import MOST_BYTES, MOST_FUNCTIONS, Counts
from penstock.providers.clock import Clock, SystemClock

TIMEOUT = 0.7
"""Seconds that a gateway is waited for, which is less than a tick."""
RESOLVE_EVERY = 5.0
"""Seconds between two looks for gateways that came or went."""
MEET_SELF_EVERY = 60.0
"""Seconds after which an address that was our own may be another's."""
SILENT_TICKS = 3
"""For how many ticks a gateway that does not answer counts as before."""
MOST_PEERS = 32

log = logging.getLogger(__name__)

Resolver = Callable[[str], Awaitable[Iterable[str]]]
"""From a host name to the addresses of all that have it. Raises OSError."""


class Loads(NamedTuple):
    """Of all other gateways together; by function."""

    started: Mapping[str, int]
    busy: Mapping[str, float]
    inflight: Mapping[str, int]


async def resolve(host: str) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def new_session() -> aiohttp.ClientSession:
    """Unpacks nothing and keeps no cookies: answers are whose they are."""
    return aiohttp.ClientSession(
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), headers={"Accept-Encoding": "identity"}
    )


class Peers:
    """The gateways behind the name `host`, each with its metrics on `port`. `identity` is our own, among them or not."""

    def __init__(
        self,
        host: str,
        port: int,
        identity: str,
        resolver: Resolver = resolve,
        session: Callable[[], aiohttp.ClientSession] = new_session,
        clock: Clock | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._identity = identity
        self._resolver = resolver
        self._new_session = session
        self._clock = clock or SystemClock()
        self._session: aiohttp.ClientSession | None = None
        self._resolving: asyncio.Task[tuple[str, ...]] | None = None
        self._resolved = -math.inf
        self._addresses: tuple[str, ...] = ()
        self._own: dict[str, float] = {}
        """Addresses that answered with our own identity, and when."""
        self._peers: dict[str, _Peer] = {}
        self._started: dict[str, float] = {}
        self._busy: dict[str, float] = {}
        self._trouble = ""

    @property
    def known(self) -> int:
        """Other gateways that count at present."""
        return len(self._peers)

    async def gather(self) -> Loads:
        """Ask all of them at once; at most some tenths of a second. Raises nothing."""
        await self._look_up()
        now = self._clock.monotonic()
        asked = [address for address in self._addresses if now - self._own.get(address, -math.inf) >= MEET_SELF_EVERY]
        answers = await asyncio.gather(*(self._ask(address) for address in asked))
        now = self._clock.monotonic()
        heard: dict[str, tuple[str, Counts]] = {}
        for address, counts in zip(asked, answers, strict=True):
            if counts and counts.identity == self._identity:
                self._own[address] = now
            elif counts:
                heard[counts.identity] = (address, counts)
        self._forget_successors(heard)
        for identity, (address, counts) in heard.items():
            peer = self._peers.setdefault(identity, _Peer(counts, now))
            peer.address = address
            self._add(*peer.hear(counts, now))
        for identity in self._peers.keys() - heard.keys():
            if self._peers[identity].missed >= SILENT_TICKS:
                del self._peers[identity]
            else:
                self._add(*self._peers[identity].guess(now))
        self._trim()
        return self._sums()

    async def close(self) -> None:
        if self._resolving:
            self._resolving.cancel()
            await asyncio.gather(self._resolving, return_exceptions=True)
        if self._session:
            await self._session.close()

    # Who they are

    async def _look_up(self) -> None:
        """Addresses as they are now. A name server that is slow is waited for in later ticks."""
        now = self._clock.monotonic()
        if not self._resolving and now - self._resolved >= RESOLVE_EVERY:
            self._resolving = asyncio.ensure_future(self._resolve())
        if not self._resolving:
            return
        done, _ = await asyncio.wait({self._resolving}, timeout=TIMEOUT if not self._addresses else 0.05)
        if done:
            self._resolving, self._resolved = None, now
            self._addresses = done.pop().result()
            self._own = {address: when for address, when in self._own.items() if address in self._addresses}

    async def _resolve(self) -> tuple[str, ...]:
        """Those of before where the name cannot be looked up: who is gone will not answer."""
        try:
            found = sorted(set(await self._resolver(self._host)))
        except (OSError, UnicodeError) as error:
            self._tell(f"{self._host}: {error}")
            return self._addresses
        self._tell("" if len(found) <= MOST_PEERS else f"{self._host} has {len(found)} addresses")
        return tuple(found[:MOST_PEERS])

    def _tell(self, trouble: str) -> None:
        if trouble and not self._trouble:
            log.warning("not all other gateways' loads can be asked for: %s", trouble)
        elif self._trouble and not trouble:
            log.info("other gateways' loads are asked for again")
        self._trouble = trouble

    def _forget_successors(self, heard: Mapping[str, tuple[str, Counts]]) -> None:
        """Where another process answers now, the former one has ended."""
        taken = {address: identity for identity, (address, _) in heard.items()}
        for identity, peer in list(self._peers.items()):
            if identity not in heard and peer.address in taken:
                del self._peers[identity]

    # What they say

    async def _ask(self, address: str) -> Counts | None:
        """None where there is no answer that can be used."""
        if not self._session:
            self._session = self._new_session()
        host = f"[{address}]" if ":" in address else address
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._session.get(f"http://{host}:{self._port}/loads", allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    return None
                body = bytearray()
                async for chunk in answer.content.iter_chunked(1 << 16):
                    body += chunk
                    if len(body) > MOST_BYTES:
                        return None
            return msgspec.json.decode(body, type=Counts)
        except (TimeoutError, OSError, ValueError, RecursionError, aiohttp.ClientError, msgspec.MsgspecError) as error:
            log.debug("the gateway at %s told no loads: %r", address, error)
            return None

    def _add(self, started: Mapping[str, float], busy: Mapping[str, float]) -> None:
        for sums, growth in ((self._started, started), (self._busy, busy)):
            for key, amount in growth.items():
                sums[key] = sums.get(key, 0.0) + amount

    def _trim(self) -> None:
        """Drop functions that nobody names any more, once there are too many; then any."""
        for sums in (self._started, self._busy):
            if len(sums) > MOST_FUNCTIONS:
                named = {key for peer in self._peers.values() for key in peer.last.started}
                for key in sorted(sums, key=named.__contains__)[: len(sums) - MOST_FUNCTIONS]:
                    del sums[key]

    def _sums(self) -> Loads:
        inflight: dict[str, int] = {}
        for peer in self._peers.values():
            for key, level in peer.last.inflight.items():
                inflight[key] = inflight.get(key, 0) + level
        return Loads({key: int(count) for key, count in self._started.items()}, dict(self._busy), inflight)


@dataclass
class _Peer:
    """One other process, and by how much its counts grew."""

    last: Counts
    heard: float
    address: str = ""
    missed: int = 0
    _rates: tuple[dict[str, float], dict[str, float]] = field(default_factory=lambda: ({}, {}))
    """By function and second, of requests begun and of seconds in flight."""
    _ahead: float = 0.0
    """Seconds since it was heard for which its rates have been counted already."""

    def hear(self, counts: Counts, now: float) -> tuple[dict[str, float], dict[str, float]]:
        """What is to be added since then."""
        seconds = now - self.heard
        grown = _growth(self.last.started, counts.started), _growth(self.last.busy, counts.busy)
        added = self._not_yet(grown[0], 0), self._not_yet(grown[1], 1)
        if seconds > 0:
            self._rates = _divided(grown[0], seconds), _divided(grown[1], seconds)
        self.last, self.heard, self.missed, self._ahead = counts, now, 0, 0.0
        return added

    def guess(self, now: float) -> tuple[dict[str, float], dict[str, float]]:
        """As `hear`, for one that does not answer."""
        seconds = now - self.heard - self._ahead
        self.missed += 1
        self._ahead += seconds
        started, busy = ({key: rate * seconds for key, rate in rates.items()} for rates in self._rates)
        return started, busy

    def _not_yet(self, grown: dict[str, float], which: int) -> dict[str, float]:
        """Without what was counted while it did not answer."""
        if not self._ahead:
            return grown
        rates = self._rates[which]
        return {key: max(0.0, amount - rates.get(key, 0.0) * self._ahead) for key, amount in grown.items()}


def _growth(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By how much each count grew; one that shrank has begun anew, and from when is not known."""
    return {key: count - before.get(key, 0) for key, count in after.items() if count > before.get(key, 0)}


def _divided(amounts: Mapping[str, float], seconds: float) -> dict[str, float]:
    return {key: amount / seconds for key, amount in amounts.items()}
