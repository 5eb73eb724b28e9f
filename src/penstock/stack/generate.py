"""Functions as the documents of other systems: custom resources of OpenFaaS and Knative, plain Kubernetes, a stack for Swarm.

Called by the verb `generate`. Pure: specifications in, plain data out, which `yamltext` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.stack.kubernetes import SECRETS, environment_of, kubernetes, metadata_of
from penstock.stack.swarmstack import swarm
from penstock.stack.yamltext import dump

Document = dict[str, Any]

OPENFAAS = "openfaas.com/v1"
KNATIVE = "serving.knative.dev/v1"


def manifests(specs: Iterable[FunctionSpec], kind: str) -> str:
    """YAML for functions with a namespace, in order of their names. `kind` is one of KINDS.

    Raises InvalidInput for another, for a function without an image, and for what the other system has no way to say.
    """
    if kind not in KINDS:
        raise InvalidInput(f"{kind!r} is nothing that can be generated; there are {', '.join(KINDS)}")
    ordered = sorted(specs, key=lambda spec: (spec.name, spec.namespace))
    for spec in ordered:
        if not spec.image:
            raise InvalidInput(
                f"function {spec.name!r} has no image, and {kind} runs nothing else; name one with `image:`"
            )
    documents = KINDS[kind](ordered)
    if kind == "swarm":
        return dump(documents[0])
    return "".join(f"---\n{dump(document)}" for document in documents)


def openfaas(specs: Sequence[FunctionSpec]) -> list[Document]:
    """Custom resources of kind Function, for the operator of OpenFaaS; its `handler` is what a stack file calls fprocess."""
    return [
        {
            "apiVersion": OPENFAAS,
            "kind": "Function",
            "metadata": {"name": spec.name, "namespace": spec.namespace},
            "spec": _given(
                name=spec.name,
                image=spec.image,
                handler=spec.env_process,
                environment=spec.env_vars,
                labels=spec.labels,
                annotations=spec.annotations,
                limits=_given(memory=spec.limits.memory, cpu=spec.limits.cpu),
                requests=_given(memory=spec.requests.memory, cpu=spec.requests.cpu),
                constraints=list(spec.constraints),
                secrets=list(spec.secrets),
                readOnlyRootFilesystem=spec.read_only_root,
            ),
        }
        for spec in specs
    ]


def knative(specs: Sequence[FunctionSpec]) -> list[Document]:
    """Services of Knative Serving."""
    return [_knative_service(spec) for spec in specs]


def _knative_service(spec: FunctionSpec) -> Document:
    mounts = [{"name": name, "mountPath": f"{SECRETS}/{name}", "readOnly": True} for name in spec.secrets]
    container = _given(
        image=spec.image,
        env=environment_of(spec),
        volumeMounts=mounts,
    )
    volumes = [{"name": name, "secret": {"secretName": name}} for name in spec.secrets]
    return {
        "apiVersion": KNATIVE,
        "kind": "Service",
        "metadata": metadata_of(spec),
        "spec": {"template": {"spec": {"containers": [container], **_given(volumes=volumes)}}},
    }


def _given(**values: Any) -> Document:
    """Those that are not empty."""
    return {key: value for key, value in values.items() if value}


KINDS: dict[str, Callable[[Sequence[FunctionSpec]], list[Document]]] = {
    OPENFAAS: openfaas,
    KNATIVE: knative,
    "kubernetes": kubernetes,
    "swarm": swarm,
}
"""By name: what turns specifications into documents."""
