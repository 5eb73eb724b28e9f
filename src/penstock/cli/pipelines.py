"""The stages of a named pipeline as a gateway knows them: what each of them is, and whether a call would get through.

Used by the verbs `deploy`, `up`, `ready` and `describe`. What a stage's text means is decided in `penstock.core.pipelines`.
"""

from __future__ import annotations

import msgspec

from penstock.cli.client import Gateway, status_of
from penstock.cli.options import note
from penstock.cli.schema import FunctionStatus
from penstock.core.names import split_key
from penstock.core.pipelines import MAX_DEPTH, split_pipeline, stage_keys
from penstock.core.pipelinetarget import read_stage
from penstock.errors import NotFound
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec


class StageState(msgspec.Struct, frozen=True):
    """One stage. Its state is a few words for people."""

    stage: str
    """As it was deployed."""
    function: str
    """`name.namespace` of what it asks."""
    ready: bool
    """Whether a call would be answered, perhaps after a wake."""
    state: str


def read_pipeline(text: str) -> tuple[str, ...]:
    """The stages of `sort | uniq`, each judged. Raises InvalidInput."""
    stages = split_pipeline(text)
    for stage in stages:
        read_stage(stage)
    return stages


async def stages_of(gateway: Gateway, pipeline: FunctionStatus) -> list[StageState]:
    """Each stage with its state now, in order; a function that is there twice is asked about once."""
    return await _states(gateway, pipeline, {}, MAX_DEPTH)


async def note_missing(gateway: Gateway, spec: FunctionSpec) -> None:
    """Tell of stages that are not deployed. That is no fault: they may come later."""
    placed = msgspec.structs.replace(spec, namespace=spec.namespace or gateway.target.namespace or DEFAULT_NAMESPACE)
    for key in dict.fromkeys(stage_keys(placed)):
        if await _status(gateway, key) is None:
            note(f"Note: {key}, a stage of {spec.name}, is not deployed; until it is, calls are answered with 404.")


async def _states(
    gateway: Gateway, pipeline: FunctionStatus, known: dict[str, tuple[bool, str]], depth: int
) -> list[StageState]:
    namespace = pipeline.namespace or gateway.target.namespace or DEFAULT_NAMESPACE
    spec = FunctionSpec(name=pipeline.name, namespace=namespace, stages=tuple(pipeline.pipeline or ()))
    keys = stage_keys(spec)
    for key in keys:
        if key not in known:
            known[key] = False, "part of a cycle"  # until it is known better
            known[key] = await _state(gateway, key, known, depth)
    return [StageState(stage, key, *known[key]) for stage, key in zip(spec.stages, keys, strict=True)]


async def _state(gateway: Gateway, key: str, known: dict[str, tuple[bool, str]], depth: int) -> tuple[bool, str]:
    status = await _status(gateway, key)
    if status is None:
        return False, "not deployed"
    if not status.pipeline:
        return _state_of_function(status)
    inner = await _states(gateway, status, known, depth - 1) if depth > 1 else []
    waits = [f"{each.function} is {each.state}" for each in inner if not each.ready]
    return (False, f"a pipeline: {waits[0]}") if waits else (True, "a pipeline, ready")


def _state_of_function(status: FunctionStatus) -> tuple[bool, str]:
    if not status.replicas:
        return True, "at rest"
    if status.available_replicas:
        return True, f"ready, {status.available_replicas} of {status.replicas}"
    reasons = [replica.reason.partition("\n")[0] for replica in status.instances or () if replica.reason]
    return False, f"not ready: {reasons[0]}" if reasons else f"not ready, 0 of {status.replicas}"


async def _status(gateway: Gateway, key: str) -> FunctionStatus | None:
    name, namespace = split_key(key, DEFAULT_NAMESPACE)
    try:
        return status_of(await gateway.within(namespace).function(name))
    except NotFound:
        return None
