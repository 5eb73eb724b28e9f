"""Sends every WebSocket message back, to be run behind the watchdog's `http` mode."""

from __future__ import annotations

import os

from aiohttp import WSMsgType, web


async def echo(request: web.Request) -> web.StreamResponse:
    socket = web.WebSocketResponse(max_msg_size=1 << 20)
    if not socket.can_prepare(request):
        return web.Response(status=426, text="speak WebSocket to me\n", headers={"Upgrade": "websocket"})
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            await socket.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


if __name__ == "__main__":
    app = web.Application()
    app.router.add_get("/{path:.*}", echo)
    web.run_app(app, host="127.0.0.1", port=int(os.environ["PORT"]), print=None, access_log=None)
