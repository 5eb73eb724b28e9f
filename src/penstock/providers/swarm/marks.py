"""Labels of the Swarm provider beside those of `containers.labels`: all that it must find again in the Swarm after a restart."""

from __future__ import annotations

from penstock.providers.containers.labels import KIND, OWNER

SPEC = "com.penstock.spec"
"""Of a service, and of a pipeline's config: the specification as JSON."""
GENERATION = "com.penstock.generation"
"""Of a service: which specification of the function this is; grows with every update."""
CREATED_AT = "com.penstock.created_at"
"""Of both: when the function was deployed, kept by updates."""
DESIRED = "com.penstock.desired"
"""Of a service that has no plan yet, and so no replicas: how many are wanted."""
FLOOR = "com.penstock.floor"
"""Of a service: replicas that an alert asks for, from when it fires until it is over."""
PORT = "com.penstock.port"
"""Of a service with a plan: where the function answers HTTP."""
LENIENT = "com.penstock.lenient"
"""Of a service with a plan: `true` where any answer below 500 means ready."""

NAMESPACE = "com.penstock.namespace"
"""Of a secret, a network and a namespace's config: which namespace it belongs to."""
NAME = "com.penstock.name"
"""Of a secret: its name in the namespace."""
VERSION = "com.penstock.version"
"""Of a secret: a number that grows with every new value."""
DELETED = "com.penstock.deleted"
"""Of a secret that is deleted, but still in use by a service."""
OBJECT = "com.penstock.object"
"""Of a namespace's config: its labels and annotations as JSON."""

HOLDER = "com.penstock.holder"
"""Of the lease: which control process has it; empty when it was given back."""
TERM = "com.penstock.term"
"""Of the lease: for how many seconds after it was written."""
EXPIRES = "com.penstock.expires"
"""Of the lease: when that is over by the holder's clock, for people; no other machine relies on it."""

SERVICE, SECRET, NETWORK, NAMESPACES, BUNDLE, LEASE = "service", "secret", "network", "namespace", "bundle", "lease"
PIPELINE = "pipeline"
"""Values of `KIND`. Containers of services have `task`, so that the docker provider never takes them for its replicas."""


def owned(installation: str, kind: str = "") -> dict[str, list[str]]:
    """A filter of the Engine API for what is ours."""
    labels = [f"{OWNER}={installation}"]
    return {"label": [*labels, f"{KIND}={kind}"] if kind else labels}


def owner(installation: str, kind: str) -> dict[str, str]:
    return {OWNER: installation, KIND: kind}


def is_ours(labels: dict[str, str] | None, installation: str) -> bool:
    return (labels or {}).get(OWNER) == installation
