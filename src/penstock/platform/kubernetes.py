"""The documents that install Penstock on a Kubernetes cluster, as one YAML text. Used by `penstock generate platform`."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from string import Template

from penstock import __version__
from penstock.core.names import check_namespace
from penstock.errors import InvalidInput
from penstock.model import DEFAULT_NAMESPACE
from penstock.providers.kubernetes.permissions import FUNCTION_RULES, PLATFORM_RULES, PROFILE_RULES, RULES, Rule

NAMESPACE = "penstock"
MAX_REPLICAS = 100
_IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,511}")
_VERSION = re.compile(r"v?1\.([0-9]{1,3})(\..*|\+)?")
_OLDEST = 20
_POLICY_V1 = 21
"""The minor version of Kubernetes from which on there is policy/v1."""

_CORE = '""'
"""The group without a name."""
_SWITCH = """\
            - name: PENSTOCK_KUBERNETES_FUNCTIONS
              value: "true"
"""
_ACCOUNT = """\
---
# The account of the REST API. Its password is in no other place: kubectl -n {namespace} get secret basic-auth -o jsonpath={{.data}}
apiVersion: v1
kind: Secret
metadata:
  name: basic-auth
  namespace: {namespace}
type: Opaque
stringData:
  basic-auth-user: admin
  basic-auth-password: {password}
"""


@dataclass(frozen=True)
class Platform:
    """What an installation is to be like."""

    image: str = f"penstock:{__version__}"
    namespace: str = NAMESPACE
    """Where the gateway is."""
    functions: str = DEFAULT_NAMESPACE
    """Where functions are."""
    replicas: int = 1
    """Of the gateway."""
    version: str = "1.21"
    """Of the cluster: older ones have other kinds."""
    custom_resources: bool = False
    """Whether Function objects become functions; their definition is among the documents."""
    account: bool = True
    """Whether an account with a new password is among the documents."""


def platform_manifests(platform: Platform) -> str:
    """One YAML text, to be applied as it is. Raises InvalidInput for what a cluster would refuse."""
    check_namespace(platform.namespace)
    check_namespace(platform.functions)
    if platform.namespace == platform.functions:
        raise InvalidInput(
            "namespace: the gateway and functions must be in different ones: functions may be removed whole"
        )
    if not _IMAGE.fullmatch(platform.image):
        raise InvalidInput(
            f"image: {platform.image!r} is no reference of an image, such as registry.example/penstock:1.0"
        )
    if not 1 <= platform.replicas <= MAX_REPLICAS:
        raise InvalidInput(f"replicas: {platform.replicas} must be 1 to {MAX_REPLICAS}")
    minor = _minor(platform.version)
    custom = platform.custom_resources
    filled = Template(_text("kubernetes.yaml")).substitute(
        image=platform.image,
        namespace=platform.namespace,
        functions=platform.functions,
        replicas=platform.replicas,
        policy="policy/v1" if minor >= _POLICY_V1 else "policy/v1beta1",
        function_rules=_rules((*RULES, *FUNCTION_RULES) if custom else RULES),
        platform_rules=_rules((*PLATFORM_RULES, *PROFILE_RULES) if custom else PLATFORM_RULES),
        switch=_SWITCH if custom else "",
    )
    account = _ACCOUNT.format(namespace=platform.namespace, password=secrets.token_hex(20)) if platform.account else ""
    return filled + ("---\n" + _text("customresources.yaml") if custom else "") + account


def _rules(rules: Iterable[Rule]) -> str:
    return "".join(
        f"  - apiGroups: [{rule.group or _CORE}]\n    resources: [{rule.resource}]\n    verbs: [{', '.join(rule.verbs)}]\n"
        for rule in rules
    )


def _text(name: str) -> str:
    return files("penstock.platform").joinpath(name).read_text(encoding="utf-8")


def _minor(version: str) -> int:
    found = _VERSION.fullmatch(version)
    if not found or int(found[1]) < _OLDEST:
        raise InvalidInput(f"version: {version!r} is no version of Kubernetes from 1.{_OLDEST} on, such as 1.30")
    return int(found[1])
