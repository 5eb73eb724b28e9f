"""What the provider asks of a cluster: every verb on every kind. The documents that install Penstock allow this, and no more.

Whoever adds a request adds its rule here; a test compares the rules with those documents.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock.providers.kubernetes.client import kinds


class Rule(NamedTuple):
    """Verbs on one resource."""

    group: str
    resource: str
    verbs: tuple[str, ...]


_KEPT = ("get", "list", "watch")


def _rule(kind: kinds.Kind, *verbs: str, subresource: str = "") -> Rule:
    return Rule(kind.group, f"{kind.plural}/{subresource}" if subresource else kind.plural, verbs)


RULES = (
    # Applying what does not exist yet is to patch and to create.
    _rule(kinds.DEPLOYMENT, "get", "list", "watch", "create", "update", "patch", "delete"),
    _rule(kinds.DEPLOYMENT, "patch", subresource="scale"),
    _rule(kinds.SERVICE, "get", "list", "watch", "create", "patch", "delete"),
    _rule(kinds.SERVICE_ACCOUNT, "create", "patch", "delete"),
    _rule(kinds.SECRET, "get", "list", "create", "update", "delete"),
    _rule(kinds.CONFIG_MAP, "list", "watch", "create", "patch", "delete"),
    _rule(kinds.POD, *_KEPT),
    _rule(kinds.POD, "get", subresource="log"),
    _rule(kinds.POD_METRICS, "list"),
)
"""In each namespace of functions."""
FUNCTION_RULES = (_rule(kinds.FUNCTION, *_KEPT), _rule(kinds.FUNCTION, "patch", subresource="status"))
"""There as well, where Function objects become functions."""
PLATFORM_RULES = (_rule(kinds.LEASE, "get", "create", "update"), _rule(kinds.CONFIG_MAP, "get"))
"""In the gateway's own namespace."""
PROFILE_RULES = (_rule(kinds.PROFILE, "get"),)
"""There as well, where profiles are objects."""
NAMESPACE_RULES = (_rule(kinds.NAMESPACE, "get"),)
"""On each namespace of functions that settings name."""
CLUSTER_RULES = (_rule(kinds.NAMESPACE, "get", "list", "watch", "create", "update", "delete"),)
"""On namespaces, where the whole cluster is Penstock's to see."""
