"""One function: its services, their tasks, what their ports answer, and the function that all of it amounts to.

Made by `fleet`, which shows it what the cluster says and carries out what it finds to be due. It waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from penstock.model import Function, Replica, ReplicaState
from penstock.providers.clock import Clock
from penstock.providers.containers.engine import Document, Engine
from penstock.providers.containers.plan import WATCHDOG
from penstock.providers.members import Probe
from penstock.providers.swarm.endpoints import address_of
from penstock.providers.swarm.generation import Generation
from penstock.providers.swarm.probing import Prober, Target
from penstock.providers.swarm.surroundings import Surroundings
from penstock.providers.swarm.tasks import Scene, in_sight, is_settled, replicas_of, serving, state_of
from penstock.providers.swarm.updating import Standing, superseded

_SPOKE = ("failed", "rejected", "complete")
"""States of tasks that ended by themselves and may have said why."""


@dataclass(frozen=True)
class Ways:
    """How tasks are reached and asked."""

    probe: Probe
    clock: Clock
    surroundings: Surroundings
    engine: Engine


@dataclass
class Progress:
    """What the newest generation waits for before it can have tasks."""

    reason: str = ""
    stuck: bool = False
    """Whether what it waits for is that something goes better than the last time."""


class Tracked:
    """A function of the Swarm. `changed` is called when a port began or ceased to answer, `condemned` with a task that is ill."""

    def __init__(
        self, key: str, ways: Ways, changed: Callable[[], None], condemned: Callable[[Document], None]
    ) -> None:
        self.key = key
        self.progress = Progress()
        self.last_words: dict[str, str] = {}
        """Of tasks that ended; filled by `fleet`."""
        self.leaving: set[str] = set()
        """Services that are out of the routes and about to be removed."""
        self._ways = ways
        self._prober = Prober(ways.probe, ways.clock, changed, self._condemn)
        self._condemned = condemned
        self._generations: list[Generation] = []
        self._tasks: Mapping[str, Sequence[Document]] = {}
        self._nodes: Mapping[str, Document] = {}
        self._served: set[str] = set()
        """Services of which a task was ever ready."""

    @property
    def newest(self) -> Generation:
        return self._generations[-1]

    @property
    def generations(self) -> list[Generation]:
        return list(self._generations)

    def see(
        self, generations: Sequence[Generation], tasks: Mapping[str, Sequence[Document]], nodes: Mapping[str, Document]
    ) -> None:
        """What there is now; at least one generation."""
        self._generations = sorted(generations, key=lambda generation: generation.number)
        self._tasks, self._nodes = tasks, nodes
        self.leaving &= {generation.id for generation in generations}
        self._served &= {generation.id for generation in generations}
        known = {task["ID"] for generation in generations for task in self._of(generation)}
        self.last_words = {task: words for task, words in self.last_words.items() if task in known}
        self._prober.want(self._targets())

    def doubt(self) -> None:
        """Ask every port again."""
        self._prober.doubt()

    def close(self) -> None:
        self._prober.close()

    def view(self) -> Function:
        newest = self.newest
        replicas = tuple(
            replica for generation in reversed(self._generations) for replica in self._replicas(generation)
        )
        return Function(
            spec=newest.spec,
            desired=newest.desired,
            floor=newest.floor,
            replicas=replicas,
            created_at=newest.created_at,
        )

    def due(self) -> list[Generation]:
        """Generations to remove, once they are out of the routes."""
        return superseded([self._standing(generation) for generation in self._generations])

    @property
    def settled(self) -> bool:
        """Whether nothing is under way."""
        if len(self._generations) > 1 or self.leaving:
            return False
        return is_settled(self.newest, self._of(self.newest)) and self.view().available == self.newest.desired

    def ended_tasks(self) -> list[Document]:
        """Failed tasks whose last words nobody has read yet."""
        return [
            task
            for generation in self._generations
            for task in self._of(generation)
            if state_of(task) in _SPOKE and task["ID"] not in self.last_words
        ]

    def lacks_watchdog(self, task: Document) -> bool:
        """Whether a task could not start for want of the watchdog."""
        said = (task.get("Status") or {}).get("Err", "") + self.last_words.get(task["ID"], "")
        return WATCHDOG[0] in said and "no such file" in said.lower()

    def _condemn(self, number: str) -> None:
        for generation in self._generations:
            for task in self._of(generation):
                if task["ID"] == number:
                    self._condemned(task)

    def _of(self, generation: Generation) -> Sequence[Document]:
        return in_sight(self._tasks.get(generation.id, ()), self._nodes)

    def _targets(self) -> dict[str, Target]:
        surroundings, url = self._ways.surroundings, self._ways.engine.url
        return {
            task["ID"]: Target(address, generation.spec, generation.lenient, generation.guarded)
            for generation in self._generations
            for task in serving(self._of(generation), self._nodes)
            if (address := address_of(task, generation, self._nodes, surroundings.way_to(generation.network), url))
        }

    def _standing(self, generation: Generation) -> Standing:
        ready = sum(replica.state == "ready" for replica in self._replicas(generation))
        if ready:
            self._served.add(generation.id)
        running = bool(serving(self._of(generation), self._nodes))
        verdicts = self._prober.verdicts
        said = [verdicts[task["ID"]].reason for task in self._of(generation) if task["ID"] in verdicts]
        hopeful = running and (generation.id in self._served or not said or not all(said))
        return Standing(generation=generation, ready=ready, hopeful=hopeful)

    def _replicas(self, generation: Generation) -> list[Replica]:
        scene = Scene(nodes=self._nodes, verdicts=self._prober.verdicts, last_words=self.last_words)
        replicas = replicas_of(generation, self._of(generation), scene)
        if generation.id in self.leaving:
            return [_draining(replica) for replica in replicas if replica.state in ("ready", "draining")]
        if generation is self.newest and generation.desired and not replicas:
            return [self._awaited(generation)]
        return replicas

    def _awaited(self, generation: Generation) -> Replica:
        """In place of replicas that Swarm does not have yet, so that what is waited for can be told."""
        state: ReplicaState = "backoff" if self.progress.stuck else "starting"
        reason = self.progress.reason or "the Swarm is about to place it"
        return Replica(id=f"{generation.name}-awaited", state=state, reason=reason)


def _draining(replica: Replica) -> Replica:
    return Replica(
        id=replica.id,
        state="draining",
        address=replica.address,
        restarts=replica.restarts,
        started_at=replica.started_at,
    )
