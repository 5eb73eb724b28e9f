"""One function: its Deployment, its pods, what they answer, and the function that all of it amounts to.

Made by `fleet`, which shows it what the cluster says. It waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from penstock.core.health import readiness_of
from penstock.model import Function, Replica
from penstock.providers.clock import Clock
from penstock.providers.kubernetes import pods as about
from penstock.providers.kubernetes.arrivals import Arrivals, Life, Question
from penstock.providers.kubernetes.manifests import (
    created_of,
    desired_of,
    floor_of,
    port_of,
    rollout_of,
    spec_of,
)
from penstock.providers.kubernetes.probes import ready_check
from penstock.providers.members import Probe

Document = dict[str, Any]
Reach = Literal["pods", "nodeport"]

FRESH = timedelta(seconds=60)
"""How long after its start a pod that we see for the first time is taken for one that its kubelet has not judged yet."""


@dataclass(frozen=True)
class Ways:
    """How pods are reached and asked."""

    probe: Probe
    clock: Clock
    reach: Reach = "pods"


class Tracked:
    """A function of the cluster. `changed` is called when a pod, or the way to it, began to answer."""

    def __init__(self, deployment: Document, ways: Ways, changed: Callable[[], None]) -> None:
        """Raises InvalidInput for a Deployment that cannot be read."""
        self._deployment, self.spec = deployment, spec_of(deployment)
        self._ways = ways
        self._arrivals = Arrivals(ways.probe, ways.clock, changed)
        self._judged: set[Life] = set()
        """Starts of which the kubelet has once said that they are ready."""
        self._seen: set[Life] = set()
        self._pods: list[Document] = []
        self._node_port = 0

    @property
    def deployment(self) -> Document:
        return self._deployment

    @property
    def pods(self) -> Sequence[Document]:
        return self._pods

    def see(self, deployment: Document, pods: Sequence[Document], service: Document | None) -> None:
        """What there is now. Raises InvalidInput for a Deployment that cannot be read."""
        if deployment is not self._deployment:
            self.spec, self._deployment = spec_of(deployment), deployment
        first = rollout_of(deployment).partition("-")[0]
        # Pods of a function of the same name that was deleted may not have heard of it yet.
        self._pods = sorted(
            (pod for pod in pods if about.rollout_of(pod).partition("-")[0] == first),
            key=lambda pod: (pod["metadata"].get("creationTimestamp", ""), pod["metadata"].get("name", "")),
        )
        ports = ((service or {}).get("spec") or {}).get("ports") or [{}]
        self._node_port = int(ports[0].get("nodePort") or 0)
        self._judge()
        self._arrivals.want(self._questions())

    def close(self) -> None:
        self._arrivals.close()

    def view(self) -> Function:
        desired = desired_of(self._deployment)
        return Function(
            spec=self.spec,
            desired=desired,
            floor=floor_of(self._deployment),
            replicas=tuple(self._replicas(desired)),
            created_at=created_of(self._deployment),
        )

    def _judge(self) -> None:
        """Remember which pods have been ready once."""
        lives = {about.life_of(pod): pod for pod in self._pods}
        now = self._ways.clock.now()
        for life, pod in lives.items():
            started = about.started_at(pod)
            old = life not in self._seen and started is not None and now - started > FRESH
            if about.is_ready(pod) or (old and about.is_running(pod)):
                self._judged.add(life)
        self._seen = set(lives)
        self._judged &= self._seen

    def _questions(self) -> Mapping[Life, Question]:
        check, delay, port = ready_check(self.spec), readiness_of(self.spec).initial_delay, port_of(self.spec)
        if self._ways.reach == "nodeport":
            ready = [pod for pod in self._pods if about.is_ready(pod) and not about.is_leaving(pod)]
            return {self._asked(pod): Question(address, check) for pod in ready if (address := self._address(pod))}
        return {
            about.life_of(pod): Question(about.address_of(pod, port), check, delay)
            for pod in self._pods
            if about.is_running(pod) and not about.is_leaving(pod) and about.life_of(pod) not in self._judged
        }

    def _asked(self, pod: Document) -> Life:
        """What is asked whether it answers: the pod, or the way to it. A node's port leads nowhere for a while after it is made: until its
        rules are written, kube-proxy itself holds the port, accepts connections, and never answers (seen with 1.20)."""
        return about.life_of(pod) if self._ways.reach == "pods" else (self._address(pod), 0)

    def _serves(self, pod: Document) -> bool:
        if about.is_leaving(pod) or about.is_over(pod):
            return False
        if about.is_ready(pod):
            return self._ways.reach == "pods" or self._arrivals.answered(self._asked(pod))
        life = about.life_of(pod)
        early = life not in self._judged and self._arrivals.answered(life)
        return early and about.is_running(pod) and not about.has_gates(pod)

    def _replicas(self, desired: int) -> list[Replica]:
        live = [pod for pod in self._pods if not about.is_over(pod)]
        replicas = [
            about.replica_of(pod, self._address(pod), self._serves(pod), self._arrivals.words(self._asked(pod)))
            for pod in live
        ]
        if self._ways.reach == "nodeport":
            replicas = self._one_way(replicas)
        there = sum(replica.state != "draining" for replica in replicas)
        if desired and (not there or (self._refusal() and self._lacks(desired, there))):
            replicas.append(self._awaited())
        return replicas

    def _address(self, pod: Document) -> str:
        if self._ways.reach == "pods":
            return about.address_of(pod, port_of(self.spec))
        host = about.host_of(pod)
        return f"{host}:{self._node_port}" if host and self._node_port else ""

    def _one_way(self, replicas: list[Replica]) -> list[Replica]:
        """Where nodes' ports lead to all pods, one address stands for those of the same node."""
        seen: set[str] = set()
        result = []
        for replica in replicas:
            doubled = replica.state == "ready" and replica.address in seen
            seen.add(replica.address)
            result.append(_without_address(replica) if doubled else replica)
        return result

    def _awaited(self) -> Replica:
        """In place of replicas that are not made, so that what is waited for can be told."""
        name = f"{self.spec.name}-awaited"
        if refusal := self._refusal():
            return Replica(id=name, state="backoff", reason=f"the cluster does not let it be made: {refusal}")
        over = [pod for pod in self._pods if about.is_over(pod)]
        reason = about.end_of(over[-1]) if over else "the cluster is about to make it"
        return Replica(id=name, state="starting", reason=reason)

    def _refusal(self) -> str:
        """Why the cluster makes no more pods, such as a quota; empty where it does."""
        conditions = (self._deployment.get("status") or {}).get("conditions") or ()
        failure: Document = next((item for item in conditions if item.get("type") == "ReplicaFailure"), {})
        return str(failure.get("message") or failure.get("reason", "")) if failure.get("status") == "True" else ""

    def _lacks(self, desired: int, there: int) -> bool:
        """Whether pods are missing, or those of an update: what the refusal is about."""
        updated = int((self._deployment.get("status") or {}).get("updatedReplicas") or 0)
        return there < desired or updated < desired


def _without_address(replica: Replica) -> Replica:
    return Replica(
        id=replica.id,
        state=replica.state,
        reason=replica.reason,
        restarts=replica.restarts,
        started_at=replica.started_at,
    )
