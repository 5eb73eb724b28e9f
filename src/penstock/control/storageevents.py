"""`/system/storage/…`: takes the notifications of object stores, and says what became of those that functions could not be told of.

A notification is answered once its events are on disk. `control.storagework` runs what delivers them. Besides the administrator a store
may notify with a token of its own, which opens nothing else.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import logging
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from penstock.control.request import json_answer, read_body
from penstock.control.schema import rfc3339
from penstock.core.tokens import bearer_token, derive_key, events_token
from penstock.errors import InvalidInput, NotSupported
from penstock.storage.delivery import Deliverer
from penstock.storage.errors import StorageOff, StorageUnavailable
from penstock.storage.eventlog import Delivery
from penstock.storage.notifications import parse_notification
from penstock.storage.reference import shown

log = logging.getLogger(__name__)

MOST_BYTES = 8 << 20
"""Of a notification: a thousand records of a thousand bytes, many times over what stores send."""
WAIT = 10.0
"""Seconds that a notification waits at the start until all functions are known; then 503, and the store tries again."""
USER = "events"
"""The name that goes with the token where a store can only say a name and a password."""
MOST_LISTED = 1000
DEFAULT_LISTED = 100


class Known(Protocol):
    """Where all functions are known at some time; the feed is one."""

    async def snapshot(self) -> object:
        """Return once they are."""


class EventsToken:
    """The token of stores; none where nothing is guarded. Made in a thread at the first use, which is slow on purpose."""

    def __init__(self, password: str | None) -> None:
        self._password = password
        self._token = ""

    async def text(self) -> str:
        """Raises NotSupported where there is none."""
        if self._password is None:
            raise NotSupported("there is no token: the gateway runs with --no-auth and asks nobody for one")
        if not self._token:
            self._token = events_token(await asyncio.to_thread(derive_key, self._password))
        return self._token

    async def accepts(self, authorization: str) -> bool:
        """Whether this `Authorization` value has it, as a bearer's (RFC 6750) or as the password of the user `events`."""
        offered = bearer_token(authorization)
        if offered is None:
            offered = _password_of(authorization)
        if offered is None or self._password is None:
            return False
        return hmac.compare_digest(offered.encode(), (await self.text()).encode())


class StorageEvents:
    """Handlers of the resources; without a `deliverer` object storage is off."""

    def __init__(self, known: Known, deliverer: Deliverer | None = None, password: str | None = None) -> None:
        self.token = EventsToken(password if deliverer else None)
        self.unusable = 0
        """Records of notifications that name no object that a request could name."""
        self._known = known
        self._deliverer = deliverer

    async def notify(self, request: Request) -> Response:
        """200 once every event that some function wants is on disk."""
        deliverer = self._on()
        notification = parse_notification(await read_body(request, MOST_BYTES))
        self.unusable += len(notification.unusable)
        for reason in notification.unusable[:10]:
            log.warning("a notification names an object that functions cannot be told of: %s", reason)
        if notification.confirm:
            log.warning("Amazon SNS wants its subscription confirmed: open %s", shown(notification.confirm))
        if not notification.events:
            return json_answer({"accepted": 0, "repeated": 0, "unmatched": 0})
        await self._ready(deliverer)
        return json_answer((await deliverer.submit(notification.events))._asdict())

    async def deliveries(self, request: Request) -> Response:
        """How many are pending, and those given up, the latest first; `?limit=` is how many of these."""
        deliverer = await self._ready(self._on())
        given_up = await deliverer.log.dead(_limit(request.query_params.get("limit", "")))
        counts = deliverer.log.counts
        return json_answer(
            {
                "pending": counts.pending,
                "inFlight": deliverer.in_flight,
                "dead": counts.dead,
                "givenUp": [_described(one) for one in given_up],
            }
        )

    async def redrive(self, request: Request) -> Response:
        """Make all that were given up once more."""
        deliverer = await self._ready(self._on())
        revived = await deliverer.log.revive(datetime.now(UTC).timestamp())
        deliverer.wake()
        return json_answer({"redriven": revived}, 202)

    async def show_token(self, request: Request) -> Response:
        self._on()
        return json_answer({"user": USER, "token": await self.token.text()})

    def _on(self) -> Deliverer:
        if self._deliverer is None:
            raise StorageOff("object storage is off: name the buckets that functions may use in PENSTOCK_S3_BUCKETS")
        return self._deliverer

    async def _ready(self, deliverer: Deliverer) -> Deliverer:
        """Once functions are known and the log is open. Raises StorageUnavailable."""
        try:
            async with asyncio.timeout(WAIT):
                await self._known.snapshot()
        except TimeoutError as error:
            raise StorageUnavailable("the functions are not known yet: try again") from error
        if not await deliverer.opened(WAIT):
            raise StorageUnavailable("events cannot be kept at present, the gateway's log says why: try again")
        return deliverer


def _password_of(authorization: str) -> str | None:
    """The password of the user `events` in a `Basic` value (RFC 7617); None for anything else."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return password if user == USER else None


def _limit(text: str) -> int:
    if not text:
        return DEFAULT_LISTED
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidInput(f"limit: {text[:40]!r} is not a whole number")
    return min(int(text), MOST_LISTED)


def _described(one: Delivery) -> dict[str, Any]:
    return {
        "callId": one.id,
        "function": one.function,
        "event": one.event.name,
        "object": str(one.event.ref),
        "attempts": one.attempts,
        "reason": one.reason,
        "accepted": rfc3339(datetime.fromtimestamp(one.accepted, UTC)),
        "givenUp": rfc3339(datetime.fromtimestamp(one.ended, UTC)),
    }
