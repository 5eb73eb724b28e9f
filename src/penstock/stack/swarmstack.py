"""Functions as a stack for `docker stack deploy`: services of a Swarm, with no gateway.

Called by `generate`. Each service is reached by others of its network at `http://NAME:8080`; secrets must be there already.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from penstock.core.scalelabels import initial_replicas
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers.resources import CORE, sizes_of
from penstock.stack.kubernetes import SECRETS, refuse_injection

Document = dict[str, Any]

NETWORK = "functions"

_NODE = re.compile(r"(?:node|engine)\.\S+\s*[!=]=.*")
_PAIR = re.compile(r"\s*([^\s=!]+)\s*(==|=|!=)\s*(\S.*)")


def swarm(specs: Sequence[FunctionSpec]) -> list[Document]:
    """One document, in format 3.8, with a service for each function. Raises InvalidInput for two functions of one name."""
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(
                f"function {name!r} is in two namespaces, and a stack has none; generate one after the other"
            )
    secrets = sorted({secret for spec in specs for secret in spec.secrets})
    document: Document = {
        "version": "3.8",
        "services": {spec.name: _service(spec) for spec in specs},
        "networks": {NETWORK: {"driver": "overlay", "attachable": True}},
    }
    if secrets:
        document["secrets"] = {name: {"external": True} for name in secrets}
    return [document]


def _service(spec: FunctionSpec) -> Document:
    refuse_injection(spec, "a stack")
    environment = {**spec.env_vars, **({"fprocess": spec.env_process} if spec.env_process else {})}
    service: Document = {
        "image": _literal(spec.image),
        "environment": {name: _literal(_unexpanded(value)) for name, value in environment.items()},
        "networks": [NETWORK],
        "secrets": [{"source": name, "target": f"{SECRETS}/{name}", "mode": 0o444} for name in spec.secrets],
        "read_only": spec.read_only_root,
        "volumes": [{"type": "tmpfs", "target": "/tmp"}] if spec.read_only_root else [],
        "labels": _literals(spec.labels),
    }
    return {**{key: value for key, value in service.items() if value}, "deploy": _deploy(spec)}


def _deploy(spec: FunctionSpec) -> Document:
    deploy: Document = {
        "replicas": initial_replicas(spec.labels),
        "labels": _literals(
            {**spec.annotations, **spec.labels, "com.openfaas.function": spec.name, "function": "true"}
        ),
        "update_config": {"parallelism": 1, "order": "start-first", "failure_action": "rollback"},
        "restart_policy": {"condition": "any", "delay": "2s"},
    }
    if spec.constraints:
        deploy["placement"] = {"constraints": [_constraint(spec, text) for text in spec.constraints]}
    sizes = sizes_of(spec)
    limits = _quantities(sizes.memory, sizes.cpu)
    reservations = _quantities(sizes.memory_reserved, sizes.cpu_reserved)
    resources = {key: value for key, value in (("limits", limits), ("reservations", reservations)) if value}
    return {**deploy, "resources": resources} if resources else deploy


def _quantities(memory: int, cpu: int) -> Document:
    found: Document = {}
    if cpu:
        found["cpus"] = f"{cpu / CORE:.3f}"
    if memory:
        found["memory"] = f"{memory}b"
    return found


def _constraint(spec: FunctionSpec, text: str) -> str:
    """Swarm's own as they are; any other is about a label of nodes."""
    if _NODE.fullmatch(text.strip()):
        return _literal(text.strip())
    found = _PAIR.fullmatch(text)
    if not found:
        raise InvalidInput(f"function {spec.name!r}: constraint {text[:80]!r} must be KEY==VALUE or KEY!=VALUE")
    operator = "!=" if found[2] == "!=" else "=="
    return _literal(f"node.labels.{found[1]} {operator} {found[3].strip()}")


def _literals(values: dict[str, str]) -> dict[str, str]:
    return {name: _literal(value) for name, value in values.items()}


def _literal(text: str) -> str:
    """Text in which `docker stack deploy` replaces no variable."""
    return text.replace("$", "$$")


def _unexpanded(text: str) -> str:
    """Text of a variable, in which Swarm expands templates, that stays as it is."""
    return text.replace("{{", '{{"{{"}}')
