"""HTTP/1.1 on the event loop: server, client with connection pool, and the relay between them.

Read in this order: `message` (heads), `framing` (bodies), `exchange` (one request seen from the server),
`connection`, `server`, `client`, `relay`.
The gateway and the watchdog speak HTTP through this package only; no other part of the data plane opens a socket.
"""
