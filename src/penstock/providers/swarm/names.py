"""Names of what we make in a Swarm: readable, one for each thing, and never longer than Swarm allows.

Pure. Function names, namespaces and installations hold no underscore, which is what keeps the parts of a name apart.
"""

from __future__ import annotations

import hashlib

from penstock.model import DEFAULT_NAMESPACE

USUAL = "penstock"
"""The installation whose names need not say it."""
MOST_SERVICE = 63
"""Characters in a service's name, which must be a DNS label."""
MOST_OTHER = 64
"""Characters in the name of a secret or config."""
_DIGEST = 12


def service_name(installation: str, name: str, namespace: str, generation: int) -> str:
    """`echo`, `echo_team`, `echo__2`: generations differ, since an update has two services for a while."""
    parts = [name]
    if namespace != DEFAULT_NAMESPACE:
        parts.append(f"_{namespace}")
    if generation > 1:
        parts.append(f"__{generation}")
    if installation != USUAL:
        parts.append(f"___{installation}")
    return _shortened("".join(parts), MOST_SERVICE, "_")


def secret_name(installation: str, name: str, namespace: str, version: int) -> str:
    """`penstock.NAMESPACE.NAME.VERSION`."""
    return _shortened(f"{installation}.{namespace}.{name}.{version}", MOST_OTHER, ".")


def config_name(installation: str, namespace: str) -> str:
    return _shortened(f"{installation}.namespace.{namespace}", MOST_OTHER, ".")


def pipeline_name(installation: str, name: str, namespace: str) -> str:
    """Of the config that keeps a named pipeline."""
    return _shortened(f"{installation}.pipeline.{namespace}.{name}", MOST_OTHER, ".")


def lease_name(installation: str) -> str:
    """Of the config that says which control process leads."""
    return _shortened(f"{installation}.lease", MOST_OTHER, ".")


def network_name(base: str, namespace: str) -> str:
    """The default namespace's network has the name that the settings give."""
    return base if namespace == DEFAULT_NAMESPACE else f"{base}-{namespace}"


def watchdog_name(installation: str, identity: str) -> str:
    """Of the volume that holds the watchdog, and of the service that fills it on every node."""
    digest = hashlib.sha256(f"{installation}\0{identity}".encode()).hexdigest()[:_DIGEST]
    return f"penstock-watchdog-{digest}"


def _shortened(text: str, most: int, joint: str) -> str:
    if len(text) <= most:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]
    return f"{text[: most - _DIGEST - 1].rstrip('-_.')}{joint}{digest}"
