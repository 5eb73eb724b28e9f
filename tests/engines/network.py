"""The wire between the machine and a sandbox: a veth pair with a network of its own, and a route to the containers behind it.

Numbers are claimed by making a link of that name, which only one can; networks that the machine routes already are left alone.
Nothing here touches the firewall or the default route, and a link takes its addresses and routes along when it goes.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from tests.conftest import debian_path

FIRST_POOL = 200
NUMBERS = range(50)
RESOLVER = Path("/etc/resolv.conf")


class NetworkFailed(Exception):
    """The machine does not give a network of its own; the message says why."""


@dataclass(frozen=True)
class Link:
    """A veth pair; its end in the sandbox is `eth0`."""

    number: int

    @property
    def name(self) -> str:
        """Of the machine's end."""
        return f"penstock{self.number}"

    @property
    def network(self) -> IPv4Network:
        """Both ends' network: the machine is its first address, the sandbox the second."""
        return IPv4Network(f"10.199.{self.number}.0/24")

    @property
    def pool(self) -> IPv4Network:
        """Of containers' addresses."""
        return IPv4Network(f"10.{FIRST_POOL + self.number}.0.0/16")

    @property
    def outside(self) -> str:
        return str(self.network[1])

    @property
    def inside(self) -> str:
        return str(self.network[2])


def connect(pid: int) -> Link:
    """A link into the network namespace of this process. Raises NetworkFailed."""
    link = _claim(pid)
    _ip("addr", "add", f"{link.outside}/24", "dev", link.name)
    _ip("link", "set", link.name, "up")
    ip_inside(pid, "addr", "add", f"{link.inside}/24", "dev", "eth0")
    ip_inside(pid, "link", "set", "eth0", "up")
    _ip("route", "add", str(link.pool), "via", link.inside, "dev", link.name)
    return link


def disconnect(link: Link) -> None:
    """Remove the link with its routes, if the end of its namespace has not done so."""
    _run("ip", "link", "delete", link.name)


def wire(pid: int, other: int, name: str) -> None:
    """A pair of links called `name` between two namespaces, without addresses."""
    _ip("link", "add", name, "netns", str(pid), "type", "veth", "peer", "name", name, "netns", str(other))


def ip_inside(pid: int, *arguments: str) -> None:
    """Run `ip` in the network namespace of this process. Raises NetworkFailed."""
    _checked("nsenter", f"--net=/proc/{pid}/ns/net", "ip", *arguments)


def _claim(pid: int) -> Link:
    for link in _candidates():
        done = _run("ip", "link", "add", link.name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        if done.returncode == 0:
            return link
        if "File exists" not in done.stderr:
            raise NetworkFailed(done.stderr.strip())
    raise NetworkFailed("every network that tests may use (10.199.0.0/16, 10.200.0.0/16 and up) is in use here")


def _candidates() -> Iterator[Link]:
    taken = list(_routed())
    links = [Link(number) for number in random.sample(NUMBERS, len(NUMBERS))]
    for link in links:
        if not any(link.network.overlaps(other) or link.pool.overlaps(other) for other in taken):
            yield link


def _routed() -> Iterator[IPv4Network]:
    """What the machine has a route to, apart from the default, and its name servers, whom the default may lead to."""
    for line in RESOLVER.read_text().splitlines() if RESOLVER.exists() else ():
        keyword, _, server = line.partition(" ")
        if keyword == "nameserver" and ":" not in server:
            yield IPv4Network(server.strip())
    for route in json.loads(_checked("ip", "-4", "-json", "route", "show", "table", "all") or "[]"):
        target = route.get("dst", "default")
        if target != "default":
            yield IPv4Network(target, strict=False)


def _ip(*arguments: str) -> None:
    _checked("ip", *arguments)


def _checked(*command: str) -> str:
    done = _run(*command)
    if done.returncode != 0:
        raise NetworkFailed(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, env={"PATH": debian_path(), "LC_ALL": "C"}, check=False
    )
