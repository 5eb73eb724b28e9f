"""The documents by which functions become services of a Swarm.

Pure. `draft` is what a function is until its image is known: what is wanted, without replicas; `completed` is the same service
with all that its tasks need. What is allowed is listed here: no capability that the function does not ask for,
no namespace, device or folder of a node.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from penstock.core.health import liveness_of
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers import labels
from penstock.providers.containers.body import SECRETS
from penstock.providers.containers.capabilities import capabilities_of
from penstock.providers.containers.engine import Document
from penstock.providers.containers.plan import ImageFacts, Plan
from penstock.providers.containers.resources import DEFAULT_PROCESSES, Machine, sizes_of, within
from penstock.providers.limits import limits_of
from penstock.providers.swarm import marks
from penstock.providers.swarm.generation import Generation
from penstock.providers.swarm.names import service_name
from penstock.watchdog.bundle.write import PLACE

SECOND = 1_000_000_000
RESTART_DELAY = 2 * SECOND
"""Between two starts of what ends by itself. Swarm has no growing pause; its own default of 5 s hides a single crash from nobody."""
MOST_SPEC = 400_000
"""Bytes of a specification as JSON. It is kept beside the variables it holds, and Swarm's log takes entries of 1.5 MB."""

_CONSTRAINT = re.compile(
    r"(?:node\.(?:id|hostname|role|platform\.os|platform\.arch)|(?:node|engine)\.labels\.[A-Za-z0-9_][-A-Za-z0-9_./]*)"
    r"\s*[!=]=\s*[A-Za-z0-9_][-A-Za-z0-9_./: ]*",
    re.ASCII,
)


class Outfit(msgspec.Struct, frozen=True, kw_only=True):
    """What a service's tasks are given beside the plan."""

    network: str
    """ID of the namespace's network."""
    secrets: dict[str, Document] = {}
    """For each secret of the specification, the Swarm secret with its current value."""
    watchdog: str = ""
    """Volume with the watchdog, where it is injected."""


def check_placeable(spec: FunctionSpec) -> None:
    """Raise InvalidInput for what Swarm cannot keep or place, whatever the image is."""
    if not spec.image:
        raise InvalidInput(f"image: is required, Swarm runs images; name one for {spec.name!r}")
    size = len(msgspec.json.encode(spec))
    if size > MOST_SPEC:
        raise InvalidInput(f"envVars: the function takes {size} bytes to describe, a Swarm keeps at most {MOST_SPEC}")
    for constraint in spec.constraints:
        if not _CONSTRAINT.fullmatch(constraint.strip()):
            raise InvalidInput(
                f"constraints: {constraint[:80]!r} is none of Swarm's: use node.labels.KEY==VALUE, node.hostname==NAME, "
                "node.role==worker, node.platform.arch==x86_64, engine.labels.KEY==VALUE, or != in place of =="
            )
    sizes_of(spec)


def draft(generation: Generation, installation: str) -> Document:
    """A service that keeps what is wanted and runs nothing yet."""
    spec = generation.spec
    return {
        "Name": service_name(installation, spec.name, spec.namespace, generation.number),
        "Labels": {
            **marks.owner(installation, marks.SERVICE),
            labels.FUNCTION: spec.key,
            marks.SPEC: msgspec.json.encode(spec).decode(),
            marks.GENERATION: str(generation.number),
            marks.CREATED_AT: generation.created_at.isoformat(),
            marks.DESIRED: str(generation.desired),
            **_floor_label(generation.floor),
            # As the original marks its services, for what people have built around them.
            "com.openfaas.function": spec.name,
            "function": "true",
        },
        "TaskTemplate": {"ContainerSpec": {"Image": spec.image}},
        "Mode": {"Replicated": {"Replicas": 0}},
        "EndpointSpec": {"Mode": "dnsrr"},
    }


def completed(drafted: Document, generation: Generation, facts: ImageFacts, plan: Plan, outfit: Outfit) -> Document:
    """The drafted service with its tasks, as many as are wanted."""
    marked = {marks.PORT: str(plan.port), marks.LENIENT: "true" if plan.lenient_ready else "false"}
    kept = {name: value for name, value in drafted["Labels"].items() if name != marks.DESIRED}
    order = {"Parallelism": 1, "Order": "start-first", "FailureAction": "pause"}
    return {
        **drafted,
        "Labels": {**kept, **marked},
        "TaskTemplate": _task(generation.spec, facts, plan, outfit, drafted["Labels"][labels.OWNER]),
        "Mode": {"Replicated": {"Replicas": generation.desired}},
        "UpdateConfig": {**order, "FailureAction": "rollback"},
        "RollbackConfig": order,
        "EndpointSpec": {
            "Mode": "dnsrr",
            "Ports": [{"TargetPort": plan.port, "PublishMode": "host", "Protocol": "tcp"}],
        },
    }


def scaled(service: Document, replicas: int) -> Document:
    """The same service with another number of replicas wanted; at rest it has no floor."""
    if replicas == 0:
        service = floored(service, 0)
    if marks.PORT in service["Labels"]:
        return {**service, "Mode": {"Replicated": {"Replicas": replicas}}}
    return {**service, "Labels": {**service["Labels"], marks.DESIRED: str(replicas)}}


def floored(service: Document, floor: int) -> Document:
    """The same service with the floor of an alert, or with none."""
    kept = {name: value for name, value in service["Labels"].items() if name != marks.FLOOR}
    return {**service, "Labels": {**kept, **_floor_label(floor)}}


def _floor_label(floor: int) -> dict[str, str]:
    return {marks.FLOOR: str(floor)} if floor else {}


# Of one task


def _task(spec: FunctionSpec, facts: ImageFacts, plan: Plan, outfit: Outfit, installation: str) -> Document:
    aliases = [spec.name, spec.key]
    return {
        "ContainerSpec": _container(spec, plan, outfit, installation),
        "Resources": _resources(spec),
        "RestartPolicy": {"Condition": "any", "Delay": RESTART_DELAY, "MaxAttempts": 0},
        "Placement": {
            "Constraints": [constraint.strip() for constraint in spec.constraints],
            "Platforms": [{"OS": facts.os or "linux", "Architecture": facts.architecture}],
        },
        "Networks": [{"Target": outfit.network, "Aliases": aliases}],
        "LogDriver": _logging(limits_of(spec).log_bytes),
    }


def _container(spec: FunctionSpec, plan: Plan, outfit: Outfit, installation: str) -> Document:
    limits = limits_of(spec)
    document: Document = {
        "Image": spec.image,
        "Env": [f"{name}={literal(value)}" for name, value in plan.environ.items()],
        "Labels": {**spec.labels, labels.OWNER: installation, labels.KIND: "task", labels.FUNCTION: spec.key},
        "CapabilityDrop": ["ALL"],
        # Engines before API 1.44 do not know it and leave it out; without capabilities little is left to gain.
        "Privileges": {"NoNewPrivileges": not limits.new_privileges},
        "Init": True,
        "ReadOnly": spec.read_only_root,
        "StopGracePeriod": int(limits.grace * SECOND),
        "Mounts": _mounts(spec, plan, outfit, installation),
        "Secrets": [_secret(name, secret) for name, secret in sorted(outfit.secrets.items())],
        "Ulimits": _ulimits({"nofile": limits.open_files, "cpu": limits.cpu_seconds}),
    }
    if given := capabilities_of(spec):
        document["CapabilityAdd"] = list(given)
    if plan.entrypoint is not None:
        document["Command"] = list(plan.entrypoint)
    if plan.command is not None:
        document["Args"] = list(plan.command)
    if plan.user:
        document["User"] = plan.user
    if plan.injected:
        document["Healthcheck"] = _healthcheck(spec, plan)
    return document


def literal(text: str) -> str:
    """Text that Swarm, which expands templates in variables, leaves as it is."""
    return text.replace("{{", '{{"{{"}}')


def _mounts(spec: FunctionSpec, plan: Plan, outfit: Outfit, installation: str) -> list[Document]:
    mounts: list[Document] = []
    if plan.injected:
        mounts.append(
            {
                "Type": "volume",
                "Source": outfit.watchdog,
                "Target": PLACE,
                "ReadOnly": True,
                # Where somebody removed the volume an engine makes an empty one: it must be known as ours to be filled.
                "VolumeOptions": {"NoCopy": True, "Labels": marks.owner(installation, marks.BUNDLE)},
            }
        )
    if spec.read_only_root:
        mounts.append({"Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": {"Mode": 0o1777}})
    return mounts


def _secret(name: str, secret: Document) -> Document:
    """Every user in the container may read it: which user the program runs as is the image's affair."""
    return {
        "SecretID": secret["ID"],
        "SecretName": secret["Spec"]["Name"],
        "File": {"Name": f"{SECRETS}/{name}", "UID": "0", "GID": "0", "Mode": 0o444},
    }


def _healthcheck(spec: FunctionSpec, plan: Plan) -> Document:
    """Only where annotations ask for liveness: a task counts as running when its first check has passed, and that comes a whole
    period after its start. The image's own question is about a program that does not run alone. A path of the program's own is
    asked by us, since the watchdog's check asks the watchdog."""
    asked = liveness_of(spec)
    if not asked or asked.path or not plan.healthcheck:
        return {"Test": ["NONE"]}
    return {
        "Test": list(plan.healthcheck),
        "Interval": int(asked.period * SECOND),
        "Timeout": int((asked.timeout or asked.period) * SECOND),
        "StartPeriod": int(asked.initial_delay * SECOND),
        "Retries": asked.failures,
    }


def _resources(spec: FunctionSpec) -> Document:
    sizes, processes = within(sizes_of(spec), Machine()), limits_of(spec).processes or DEFAULT_PROCESSES
    return {
        "Limits": _given({"MemoryBytes": sizes.memory, "NanoCPUs": sizes.cpu, "Pids": processes}),
        "Reservations": _given({"MemoryBytes": sizes.memory_reserved, "NanoCPUs": sizes.cpu_reserved}),
    }


def _given(numbers: dict[str, int]) -> dict[str, int]:
    return {name: number for name, number in numbers.items() if number}


def _ulimits(numbers: dict[str, int]) -> list[dict[str, Any]]:
    return [{"Name": name, "Soft": number, "Hard": number} for name, number in numbers.items() if number]


def _logging(log_bytes: int) -> Document:
    """Two files of half the size each: the older one stays when the newer is full."""
    return {"Name": "json-file", "Options": {"max-size": str(log_bytes // 2), "max-file": "2"}}
