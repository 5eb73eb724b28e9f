"""The ASGI server of the watchdog: scopes, one HTTP request, one WebSocket, and the application's life span.

`modes/asgi.py` composes them on the exchanges of `wire`; nothing here listens or accepts.
"""
