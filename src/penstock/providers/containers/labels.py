"""Labels: those by which our containers, networks, volumes and services are known, and those with which a function says how
its image is to be run. All that carries `OWNER` is ours; nothing else is ever touched."""

from __future__ import annotations

OWNER = "com.penstock.owner"
"""On everything of ours: which installation it belongs to, so that two on one engine leave each other alone."""
KIND = "com.penstock.kind"
"""`replica`, `helper`, `network`, `bundle`; those of a Swarm's objects are in `swarm.marks`."""
FUNCTION = "com.penstock.function"
"""`name.namespace` of the function that it serves."""
ORDER = "com.penstock.order"
"""The order that a replica was started by, as JSON and without secrets."""

WATCHDOG = "com.penstock.watchdog"
"""Of a function: `inject` our watchdog, or run the `image` as it is."""
HTTP_PORT = "com.penstock.http-port"
"""Of a function: the port on which its image serves HTTP by itself."""
CAPABILITIES = "com.penstock.capabilities"
"""Of a function: what the root of its containers may do, out of a short list."""
ZERO = "com.penstock.zero"
"""Of a function: what becomes of its last replica at zero: `remove`, `stop` or `pause`."""
