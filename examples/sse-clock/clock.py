"""A clock that ticks by server-sent events, to be run behind the watchdog's `http` mode.

GET /?interval=0.5&count=4 sends four events, half a second apart, and ends. Without `count` it ticks until the client leaves.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from datetime import UTC, datetime

from aiohttp import web


async def clock(request: web.Request) -> web.StreamResponse:
    try:
        interval, count = float(request.query.get("interval", "1")), int(request.query.get("count", "0"))
    except ValueError:
        interval, count = 0.0, 0
    if not 0.01 <= interval <= 60.0:
        raise web.HTTPBadRequest(text="interval is 0.01 to 60 seconds, count a whole number\n")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(request)
    for number in itertools.count(1):
        tick = json.dumps({"tick": number, "time": datetime.now(UTC).isoformat(timespec="milliseconds")})
        await response.write(f"id: {number}\nevent: tick\ndata: {tick}\n\n".encode())
        if number == count:
            break
        await asyncio.sleep(interval)
    return response


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/{path:.*}", clock)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, access_log=None)
