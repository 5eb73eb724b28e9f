"""Profiles: what an administrator has prepared for pods of functions, which name it in an annotation (contract gateway §9.2).

Pure. A profile is a `Profile` of `openfaas.com/v1`, or a ConfigMap with the label `LABELS` whose data has the same fields as
YAML under `profile`; both are in the namespace of the platform. The provider looks up what `wanted` names and passes what
`read` made of it to `manifests.deployment`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import yaml

from penstock.errors import InvalidInput
from penstock.model import FunctionSpec
from penstock.providers.containers.labels import KIND
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.placement import with_expressions

LABELS = {KIND: "profile"}
"""Of a ConfigMap that is a profile."""
DATA = "profile"
"""Of such a ConfigMap: the key of its data that has the fields."""
MOST = 16
"""Profiles of one function."""

_LONGEST, _DEEPEST = 16 << 10, 32
"""Characters, and mappings and lists within each other, of a profile as YAML; usual ones have a hundredth, and eight."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FIELDS: dict[str, type] = {
    "affinity": dict,
    "dnsConfig": dict,
    "dnsPolicy": str,
    "nodeSelector": dict,
    "podSecurityContext": dict,
    "priorityClassName": str,
    "resources": dict,
    "runtimeClassName": str,
    "strategy": dict,
    "tolerations": list,
    "topologySpreadConstraints": list,
}
"""What a profile can say, and as what kind of value. What is in them is judged by the API server."""
_WORDS: dict[type, str] = {dict: "a mapping", str: "a text", list: "a list of mappings"}
_IN_POD = ("dnsConfig", "dnsPolicy", "priorityClassName", "runtimeClassName")
"""Fields that a pod has by the same name, and that functions have no other word for."""


class Profile(msgspec.Struct, frozen=True):
    """One that was found and can be used."""

    name: str
    fields: dict[str, Any]


def wanted(spec: FunctionSpec) -> tuple[str, ...]:
    """Names of the function's profiles in their order, each once. Raises InvalidInput."""
    text = spec.annotations.get(marks.PROFILES, "")
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if not marks.OBJECT_NAME.fullmatch(name):
            raise InvalidInput(f"annotations: {marks.PROFILES}: {name[:80]!r} cannot be the name of a profile")
    if len(names) > MOST:
        raise InvalidInput(f"annotations: {marks.PROFILES}: names {len(names)} profiles, a function has at most {MOST}")
    return names


def missing(spec: FunctionSpec, found: Sequence[Profile], namespace: str) -> InvalidInput | None:
    """What to say where a profile was not found in the platform's namespace; None where all were."""
    absent = [name for name in wanted(spec) if name not in {profile.name for profile in found}]
    if not absent:
        return None
    return InvalidInput(
        f"annotations: {marks.PROFILES}: there is no profile {absent[0]!r} in namespace {namespace!r}; an administrator makes it "
        f"as a Profile of openfaas.com/v1, or as a ConfigMap with the label {KIND}=profile"
    )


def read(document: Mapping[str, Any]) -> Profile:
    """A Profile or a ConfigMap as the API gives it. Raises InvalidInput naming the profile, the field and what it must be."""
    name = document["metadata"]["name"]
    is_map = document.get("kind") == "ConfigMap" or "data" in document
    fields = _parsed(name, document) if is_map else document.get("spec") or {}
    if not isinstance(fields, Mapping):
        raise InvalidInput(f"profile {name}: must be a mapping of {', '.join(_FIELDS)}")
    for field, value in fields.items():
        kind = _FIELDS.get(field)
        if kind is None:
            raise InvalidInput(f"profile {name}: has no field {str(field)[:80]!r}; there are {', '.join(_FIELDS)}")
        if value is not None and not (isinstance(value, kind) and _are_mappings(value)):
            raise InvalidInput(f"profile {name}: {field} must be {_WORDS[kind]}")
    _check_resources(name, fields.get("resources") or {})
    return Profile(name, {field: value for field, value in fields.items() if value})


def combined(profiles: Sequence[Profile]) -> dict[str, Any]:
    """One profile of all: what can be many adds up, of everything else the last one wins, mapping by mapping."""
    result: dict[str, Any] = {}
    for profile in profiles:
        for field, value in profile.fields.items():
            result[field] = _JOINED.get(field, _last)(result[field], value) if field in result else value
    return result


def put_on(deployment: dict[str, Any], profiles: Sequence[Profile], name: str) -> None:
    """Change the `spec` of a Deployment, which has what the function itself says, into one with these profiles as well.

    The function's own constraints and amounts win. Topologies without a selector are spread by this function's pods.
    """
    given, pod = combined(profiles), deployment["template"]["spec"]
    for field in _IN_POD:
        if field in given:
            pod[field] = given[field]
    if "strategy" in given:
        deployment["strategy"] = given["strategy"]
    if "tolerations" in given:
        pod["tolerations"] = given["tolerations"]
    if "nodeSelector" in given:
        pod["nodeSelector"] = {**given["nodeSelector"], **pod.get("nodeSelector", {})}
    if "podSecurityContext" in given:
        pod["securityContext"] = {**pod["securityContext"], **given["podSecurityContext"]}
    if "topologySpreadConstraints" in given:
        selector = {"matchLabels": {marks.FUNCTION: name}}
        pod["topologySpreadConstraints"] = [
            {"labelSelector": selector, **constraint} for constraint in given["topologySpreadConstraints"]
        ]
    if "resources" in given:
        container = pod["containers"][0]
        container["resources"] = _resources(given["resources"], container.get("resources", {}))


def affinity(profiles: Sequence[Profile], expressions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """That of the profiles, where the function's own requirements hold as well; empty where there is nothing of either."""
    return with_expressions(combined(profiles).get("affinity", {}), expressions)


def _parsed(name: str, document: Mapping[str, Any]) -> Any:
    labels = document["metadata"].get("labels") or {}
    if not LABELS.items() <= labels.items():
        raise InvalidInput(f"profile {name}: the ConfigMap of that name is none, it has not the label {KIND}=profile")
    text = (document.get("data") or {}).get(DATA)
    if text is None:
        raise InvalidInput(f"profile {name}: its ConfigMap has no key {DATA!r} in its data")
    if len(text) > _LONGEST:
        raise InvalidInput(f"profile {name}: has {len(text)} characters, at most {_LONGEST} are read")
    try:
        _check_shape(name, text)
        return yaml.load(text, Loader=_Loader) or {}  # noqa: S506 - one of the safe loaders
    except (yaml.YAMLError, ValueError) as error:
        said = " ".join(str(error).split())[:300]
        raise InvalidInput(f"profile {name}: cannot be read as YAML: {said or type(error).__name__}") from error


def _check_shape(name: str, text: str) -> None:
    """That reading it is no more work than its length says."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise InvalidInput(
                f"profile {name}: refers to other parts of itself (*), which is not read; write them out"
            )
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise InvalidInput(f"profile {name}: is nested more than {_DEEPEST} deep, which no field is")


def _are_mappings(value: Any) -> bool:
    return not isinstance(value, list) or all(isinstance(each, dict) for each in value)


def _check_resources(name: str, resources: Mapping[str, Any]) -> None:
    for kind, amounts in resources.items():
        fits = kind in ("limits", "requests") and isinstance(amounts, dict)
        if not fits or not all(isinstance(each, str | int | float) for each in amounts.values()):
            raise InvalidInput(f"profile {name}: resources must be limits and requests, each a mapping of amounts")


def _resources(given: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in ("limits", "requests") if kind in given or kind in own]
    return {kind: {**_texts(given.get(kind, {})), **own.get(kind, {})} for kind in kinds}


def _texts(amounts: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(amount) for name, amount in amounts.items()}


def _last(first: Any, second: Any) -> Any:
    return {**first, **second} if isinstance(first, dict) else second


def _all(first: list[Any], second: list[Any]) -> list[Any]:
    return [*first, *(each for each in second if each not in first)]


_JOINED: dict[str, Callable[[Any, Any], Any]] = {
    "tolerations": _all,
    "topologySpreadConstraints": _all,
    "resources": _resources,
    "strategy": lambda first, second: second,
}
