"""What Kubernetes takes as labels, annotations and names of variables, and what of it a function may have.

Pure; called by `manifests.check`. A function's labels and annotations go to its objects as they are, except for labels of ours
whose values Kubernetes has no room for: those are in the specification alone, where we read them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from penstock.core.labels import PREFIX
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.kubernetes import marks

MOST_ANNOTATIONS = 256 << 10
"""Bytes of all annotations of one object together; the specification is one of them."""
SPARE = 4096
"""Of those, for what Kubernetes and we write there ourselves."""

_PART = r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_NAME = re.compile(_PART, re.ASCII)
_VALUE = re.compile(rf"(?:{_PART})?", re.ASCII)
_DOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*", re.ASCII)
_LONGEST_DOMAIN = 253
_VARIABLE = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*", re.ASCII)
_OWN_LABELS = (marks.FUNCTION, marks.MANAGED_BY, "pod-template-hash")
_OWN_ANNOTATIONS = (marks.SPEC, marks.FLOOR, marks.ROLLOUT, marks.DIGEST)
_RESERVED = ("kubernetes.io", "k8s.io")
_ALLOWED = ("cluster-autoscaler.kubernetes.io",)
"""Of the reserved domains, what people tell schedulers about their pods; the rest steers the cluster itself."""


def check_texts(spec: FunctionSpec) -> None:
    """Labels, annotations and names of variables. Raises InvalidInput naming the one and the rule."""
    for name in spec.env_vars:
        _check_variable(name)
    for name, value in spec.labels.items():
        if (name, value) != (marks.FUNCTION, spec.name):  # that one is in what the API lists, and may come back
            _check_label(name, value)
    for name in spec.annotations:
        _check_annotation(name)


def check_size(annotations: Mapping[str, str], key: str) -> None:
    """That Kubernetes keeps all of a Deployment's annotations. Raises InvalidInput."""
    size = sum(len(name.encode()) + len(value.encode()) for name, value in annotations.items())
    if size > MOST_ANNOTATIONS - SPARE:
        raise InvalidInput(
            f"envVars: {key} takes {size} bytes to describe with its variables and annotations, Kubernetes keeps at most "
            f"{MOST_ANNOTATIONS - SPARE}; put large texts in a secret or the image"
        )


def object_labels(spec: FunctionSpec) -> dict[str, str]:
    """The function's own labels that its objects can have."""
    return {name: value for name, value in spec.labels.items() if _VALUE.fullmatch(value)}


def is_qualified(name: str) -> bool:
    """Whether Kubernetes takes it as the name of a label or annotation: `[DOMAIN/]NAME`."""
    domain, slash, rest = name.rpartition("/")
    if slash and (len(domain) > _LONGEST_DOMAIN or not _DOMAIN.fullmatch(domain)):
        return False
    return _NAME.fullmatch(rest) is not None


def is_label_value(value: str) -> bool:
    return _VALUE.fullmatch(value) is not None


def _check_label(name: str, value: str) -> None:
    if name in _OWN_LABELS:
        raise InvalidInput(
            f"labels: {name!r} is how Kubernetes and the platform know a function's objects; leave it out"
        )
    _check_name("labels", name)
    if not _VALUE.fullmatch(value) and not name.startswith(PREFIX):
        raise InvalidInput(
            f"labels: {name}={value[:80]!r} is no value for Kubernetes: at most 63 letters, digits, '-', '_' and '.', with a "
            "letter or digit at both ends; use an annotation for other text"
        )


def _check_annotation(name: str) -> None:
    if name in _OWN_ANNOTATIONS:
        raise InvalidInput(f"annotations: {name!r} is written by the platform; leave it out")
    _check_name("annotations", name)
    domain = name.rpartition("/")[0].lower()
    reserved = any(domain == each or domain.endswith(f".{each}") for each in _RESERVED)
    if reserved and domain not in _ALLOWED:
        raise InvalidInput(
            f"annotations: {name[:200]!r} is of a domain that steers the cluster, which is not a function's affair; use a "
            f"profile ({marks.PROFILES}) or leave it out"
        )


def _check_name(field: str, name: str) -> None:
    if not is_qualified(name):
        raise InvalidInput(
            f"{field}: {name[:200]!r} is no name for Kubernetes: at most 63 letters, digits, '-', '_' and '.', with a letter or "
            "digit at both ends, and before it a domain and '/' if there is one, such as example.com/team"
        )


def _check_variable(name: str) -> None:
    """As releases before 1.30 have it; later ones take more."""
    if not _VARIABLE.fullmatch(name) or name == "." or name.startswith(".."):
        raise InvalidInput(
            f"envVars: {name[:200]!r} cannot name a variable on Kubernetes: letters, digits, '_', '-' and '.', no digit first"
        )
