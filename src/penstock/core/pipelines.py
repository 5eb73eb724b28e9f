"""Named pipelines: what their stages mean, and whether a set of pipelines can be run at all.

A named pipeline is a function whose specification has stages. Providers check one here when it is deployed; the feed asks for the
stages with their namespaces before it tells the gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from penstock.core.pipelinetarget import MAX_STAGES, read_stage, split_stage
from penstock.errors import InvalidInput
from penstock.model import FunctionSpec

MAX_DEPTH = 10
"""Pipelines within each other, the outermost counted. One that needs more is better written as one list."""

_SHOWN = 12
"""Names of a cycle that a message has at most."""


def split_pipeline(text: str) -> tuple[str, ...]:
    """The stages of `sort | uniq?count=1 | wc`, as a person writes them in one line; spaces around pipes mean nothing. What each
    stage says is not judged. Raises InvalidInput for a stage that is not there."""
    stages = tuple(stage.strip() for stage in text.split("|"))
    for number, stage in enumerate(stages, 1):
        if not stage:
            raise InvalidInput(f"pipeline: stage {number} of {text[:200]!r} is empty; write NAME | NAME")
    return stages


def resolve_stage(text: str, namespace: str) -> str:
    """A stage's text with its namespace: the one it names, else that of its pipeline."""
    name, rest = split_stage(text)
    return text if "." in name else f"{name}.{namespace}{rest}"


def stage_keys(spec: FunctionSpec) -> tuple[str, ...]:
    """`name.namespace` of what each stage of a pipeline asks, in order; the same one may be there many times."""
    return tuple(split_stage(resolve_stage(stage, spec.namespace))[0] for stage in spec.stages)


def check_pipeline(spec: FunctionSpec, others: Iterable[FunctionSpec]) -> None:
    """Whether a pipeline can be deployed, or take the place of the one of its name, beside `others`.

    Its stages are readable; neither it nor one that it is part of contains itself, is nested deeper than MAX_DEPTH or has
    more than MAX_STAGES stages when all are written out. Stages may name what there is not yet. Raises InvalidInput.
    """
    if len(spec.stages) > MAX_STAGES:
        raise InvalidInput(f"pipeline: has {len(spec.stages)} stages, at most {MAX_STAGES} are accepted")
    for stage in spec.stages:
        read_stage(stage)
    pipelines = {other.key: stage_keys(other) for other in others if other.stages} | {spec.key: stage_keys(spec)}
    measure = _Measure(pipelines)
    for key in _containers(pipelines, spec.key):
        measure.of(key, ())


class _Extent(NamedTuple):
    """How large a pipeline is with those in it."""

    stages: int
    depth: int


class _Measure:
    """Writes pipelines out, each once. Recursion ends at MAX_DEPTH."""

    def __init__(self, pipelines: Mapping[str, Sequence[str]]) -> None:
        self._pipelines = pipelines
        self._known: dict[str, _Extent] = {}

    def of(self, key: str, path: tuple[str, ...]) -> _Extent:
        """`path`: the pipelines around it. Raises InvalidInput."""
        if key not in self._pipelines:
            return _Extent(1, 0)
        if key in path:
            raise InvalidInput(f"pipeline: cannot contain itself: {_chain((*path[path.index(key) :], key))}")
        if key not in self._known:
            self._check_depth(key, path, 1)
            inner = [self.of(stage, (*path, key)) for stage in self._pipelines[key]]
            self._known[key] = _Extent(sum(one.stages for one in inner), 1 + max(one.depth for one in inner))
        extent = self._known[key]
        self._check_depth(key, path, extent.depth)
        if extent.stages > MAX_STAGES:
            raise InvalidInput(
                f"pipeline: {key} has {extent.stages} stages with those of the pipelines in it, at most {MAX_STAGES} are accepted"
            )
        return extent

    @staticmethod
    def _check_depth(key: str, path: tuple[str, ...], depth: int) -> None:
        if len(path) + depth > MAX_DEPTH:
            raise InvalidInput(
                f"pipeline: {len(path) + depth} pipelines are nested in each other ({_chain((*path, key))}), "
                f"at most {MAX_DEPTH} may be; write the stages of some out"
            )


def _containers(pipelines: Mapping[str, Sequence[str]], key: str) -> list[str]:
    """A pipeline, and all that contain it, directly or not."""
    users: dict[str, list[str]] = {}
    for name, stages in pipelines.items():
        for stage in set(stages):
            users.setdefault(stage, []).append(name)
    found = {key: None}
    left = [key]
    while left:
        for user in users.get(left.pop(), ()):
            if user not in found:
                found[user] = None
                left.append(user)
    return list(found)


def _chain(keys: Sequence[str]) -> str:
    shown = keys if len(keys) <= _SHOWN else (*keys[: _SHOWN - 1], "…", keys[-1])
    return " → ".join(shown)
