"""Swarms of real nodes, each with an Engine and a network of its own; the second can be cut off.

Services need `--endpoint-mode dnsrr` and ports in host mode: where a kernel has no IPVS there is no other way to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network

from tests.engines import network
from tests.engines.engine import Engine
from tests.engines.waiting import wait_until

HEARTBEAT = "4s"
"""How often one of two nodes reports; a node is lost when it has missed three. Less, and one that a busy machine keeps waiting
for ten seconds is taken for lost."""
LONE_HEARTBEAT = "20s"
"""The same of a node that nobody wants to lose."""
STILL_JOINING = "The attempt to join the swarm will continue in the background"
"""What is said by an engine that has not joined within 20 s."""

WIRE = "nodes0"
"""The link between two nodes, on both ends."""


class SwarmNode(Engine):
    """An Engine that is a node of a Swarm. It cannot have `live_restore`, and has the bridge that Swarm gives services."""

    def __init__(self, *, insecure: Sequence[str] = ()) -> None:
        super().__init__(insecure=insecure, bridge=True)
        self._other: IPv4Network | None = None

    def found_swarm(self, heartbeat: str = LONE_HEARTBEAT) -> None:
        """Make a Swarm of this node alone."""
        self.docker("swarm", "init", "--advertise-addr", self.sandbox.address, "--dispatcher-heartbeat", heartbeat)

    def join_swarm(self, manager: SwarmNode) -> None:
        """Become a worker of that node's Swarm, over a wire of their own; it may still be joining when this returns."""
        network.wire(self.sandbox.pid, manager.sandbox.pid, WIRE)
        for node, other in ((self, manager), (manager, self)):
            node._other = other.sandbox.link.network
            node.mend()
        token = manager.docker("swarm", "join-token", "--quiet", "worker")
        address = self.sandbox.address
        try:
            self.docker("swarm", "join", "--advertise-addr", address, "--token", token, manager.sandbox.address)
        except AssertionError as error:
            if STILL_JOINING not in str(error):
                raise

    @property
    def id(self) -> str:
        """By which Swarm knows this node."""
        return self.docker("info", "--format", "{{.Swarm.NodeID}}")

    def cut(self) -> None:
        """Take down this node's links, to the machine and to the other node; its socket still answers."""
        for device in ("eth0", *([WIRE] if self._other else [])):
            network.ip_inside(self.sandbox.pid, "link", "set", device, "down")

    def mend(self) -> None:
        """Bring up what `cut` has taken down."""
        network.ip_inside(self.sandbox.pid, "link", "set", "eth0", "up")
        if self._other is not None:
            network.ip_inside(self.sandbox.pid, "link", "set", WIRE, "up")
            way = ("dev", WIRE, "src", self.sandbox.address)
            network.ip_inside(self.sandbox.pid, "route", "replace", str(self._other), *way)


class TwoNodeSwarm:
    """A manager, which is the Engine to give commands to, and a worker that may be lost."""

    def __init__(self, *, insecure: Sequence[str] = ()) -> None:
        self.manager = SwarmNode(insecure=insecure)
        try:
            self.worker = SwarmNode(insecure=insecure)
        except BaseException:
            self.manager.close()
            raise
        try:
            self.manager.found_swarm(HEARTBEAT)
            self.worker.join_swarm(self.manager)
            wait_until(lambda: len(self._ids()) == 2 and self.states() == {"ready"}, "two ready nodes")
        except BaseException:
            self.close()
            raise

    @property
    def nodes(self) -> tuple[SwarmNode, SwarmNode]:
        return self.manager, self.worker

    def states(self) -> set[str]:
        """What the manager thinks of its nodes."""
        return set(self.manager.docker("node", "inspect", "--format", "{{.Status.State}}", *self._ids()).split())

    def _ids(self) -> list[str]:
        return self.manager.docker("node", "ls", "--quiet").split()

    def cut(self) -> None:
        """Take down the worker's links."""
        self.worker.cut()

    def mend(self) -> None:
        """Bring them up again and wait until the manager sees the worker."""
        self.worker.mend()
        wait_until(lambda: self.states() == {"ready"}, "the worker's return")

    def close(self) -> None:
        self.worker.close()
        self.manager.close()
