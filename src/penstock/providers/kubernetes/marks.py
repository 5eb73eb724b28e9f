"""Labels and annotations by which the objects of functions are known, and those with which a function speaks to Kubernetes.

All that carries `MANAGED_BY` and our `INSTALLATION` is ours; nothing else is ever written to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from penstock.core.scalelabels import HPA_LABEL

FUNCTION = "faas_function"
"""Label of all objects of a function, and what its Deployment and Service select pods by: the name (contract gateway §9.1)."""
MANAGED_BY, MANAGER = "app.kubernetes.io/managed-by", "penstock"
"""Label of all our objects, and its value."""
INSTALLATION = "com.penstock.installation"
"""Label of all our objects: which installation they belong to, so that two in one cluster leave each other alone."""

SPEC = "com.penstock.spec"
"""Annotation of a Deployment: the specification as the user wrote it, as JSON."""
FLOOR = "com.penstock.floor"
"""Annotation of a Deployment: replicas that an alert asks for, from when it fires until it is over."""
ROLLOUT = "com.penstock.rollout"
"""Annotation of a Deployment and its pods: grows with every update, so that an update with the same words makes new pods."""
DIGEST = "com.penstock.digest"
"""Annotation of all our objects: of what we wrote, by which it is seen that something was left out since."""

OBJECT_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?", re.ASCII)
"""Names of most kinds of objects."""

HPA = HPA_LABEL
"""Label of a function: `true` leaves its replicas to a HorizontalPodAutoscaler of the user's."""
USER = "com.penstock.kubernetes.user"
"""Label of a function: the user that its container runs as, `UID` or `UID:GID`, or `image` for the image's own."""
PROFILES = "com.openfaas.profile"
"""Annotation of a function: names of profiles with commas between them."""
SERVICE_ACCOUNT = "com.openfaas.serviceaccount"
"""Annotation of a function: a ServiceAccount of its namespace, whose token it is given."""


def owner(installation: str) -> dict[str, str]:
    """The labels of all that is ours."""
    return {MANAGED_BY: MANAGER, INSTALLATION: installation}


def is_ours(document: Mapping[str, Any], installation: str) -> bool:
    labels = (document.get("metadata") or {}).get("labels") or {}
    return bool(labels.get(MANAGED_BY) == MANAGER and labels.get(INSTALLATION) == installation)
