"""Where a task is reached: its own address on the network that the gateway shares, or a port that its node publishes.

Pure but for `choose`, which finds out once which of the two it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from penstock.providers.containers.engine import Document
from penstock.providers.swarm.generation import Generation
from penstock.providers.swarm.tasks import RUNNING, node_of, state_of

Way = Literal["ip", "port"]
_NOWHERE = ("", "0.0.0.0", "127.0.0.1", "::", "::1")  # noqa: S104 - compared, not bound


def choose(connect: str, in_container: bool) -> Way:
    """`auto` is `ip` where we are a container of the engine, which joins the functions' networks."""
    if connect == "ip" or (connect == "auto" and in_container):
        return "ip"
    return "port"


def address_of(task: Document, generation: Generation, nodes: Mapping[str, Document], way: Way, engine_url: str) -> str:
    """`host:port`, or "" as long as there is none."""
    if way == "ip":
        host = _attached(task, generation.network)
        return f"{_bracketed(host)}:{generation.port}" if host else ""
    port = _published(task, generation.port)
    if not port or state_of(task) != RUNNING:
        return ""
    host = (node_of(task, nodes).get("Status") or {}).get("Addr", "")
    return f"{_bracketed(host if host not in _NOWHERE else engine_host(engine_url))}:{port}"


def engine_host(url: str) -> str:
    """The machine of the engine that we talk to."""
    return (urlsplit(url).hostname if not url.startswith("unix:") else None) or "127.0.0.1"


def _attached(task: Document, network: str) -> str:
    for attachment in task.get("NetworksAttachments") or ():
        if (attachment.get("Network") or {}).get("ID") == network:
            for address in attachment.get("Addresses") or ():
                return str(address).partition("/")[0]
    return ""


def _published(task: Document, target: int) -> int:
    status = task.get("Status") or {}
    for port in (status.get("PortStatus") or {}).get("Ports") or ():
        if port.get("TargetPort") == target and port.get("PublishMode") == "host":
            return int(port.get("PublishedPort") or 0)
    return 0


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
