"""Function objects of openfaas.com/v1 become functions, so that they can be applied and watched over as everything in a cluster.

Optional; the provider runs one, which acts only in the gateway that leads. It compares the objects with the functions there are, and
deploys, updates and deletes by the provider's own verbs. What came of each object is told in its status.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import msgspec

from penstock.errors import FunctionNotFound, InvalidInput, PenstockError
from penstock.model import Function, FunctionEvent, FunctionSpec, Resources
from penstock.providers.clock import Clock
from penstock.providers.kubernetes.functionstatus import Outcome, status_of

Document = dict[str, Any]
Place = tuple[str, str]
"""Namespace and name of an object."""

OBJECT = "com.penstock.function-object"
"""Annotation of a function that was made from an object: the object's name. It is deleted with it."""
TICK = 10.0
"""Seconds after which what failed is tried again."""
PAUSE = 0.1
"""Seconds between two looks at all objects, so that many changes at once are one look."""

_log = logging.getLogger(__name__)


class Objects(Protocol):
    """The objects there are: a mirror."""

    @property
    def items(self) -> Mapping[Place, Document]: ...

    async def synced(self) -> None: ...

    def follow(self, changed: Callable[[Place], None]) -> None: ...


class Verbs(Protocol):
    """What a provider has."""

    async def deploy(self, spec: FunctionSpec) -> None: ...

    async def update(self, spec: FunctionSpec) -> None: ...

    async def delete(self, name: str, namespace: str) -> None: ...

    async def get(self, name: str, namespace: str, usage: bool = False) -> Function: ...

    def watch(self) -> AsyncIterator[FunctionEvent]: ...


class Tell(Protocol):
    """Writes the status of an object."""

    async def __call__(self, place: Place, status: Document) -> None: ...


class FunctionObjects:
    """`leads` says whether this gateway may act now."""

    def __init__(self, objects: Objects, verbs: Verbs, tell: Tell, leads: Callable[[], bool], clock: Clock) -> None:
        self._objects, self._verbs, self._tell = objects, verbs, tell
        self._leads, self._clock = leads, clock
        self._functions: dict[str, Function] = {}
        self._known = False
        """Whether all functions were told of."""
        self._kicked = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._objects.follow(lambda place: self._kicked.set())
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._run())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self) -> None:
        async with contextlib.aclosing(self._verbs.watch()) as events:  # type: ignore[type-var]
            async for event in events:
                if event.kind == "changed" and event.function:
                    self._functions[event.key] = event.function
                elif event.kind == "removed":
                    self._functions.pop(event.key, None)
                else:
                    self._known = True
                if self._known:
                    self._kicked.set()

    async def _run(self) -> None:
        await self._objects.synced()
        while True:
            await self._wait()
            if self._known and self._leads():
                await self._look()

    async def _wait(self) -> None:
        """For a change, or a while: leading begins and errors end without one."""
        tick = asyncio.ensure_future(self._clock.sleep(TICK))
        kick = asyncio.ensure_future(self._kicked.wait())
        try:
            await asyncio.wait((tick, kick), return_when=asyncio.FIRST_COMPLETED)
        finally:
            tick.cancel()
            kick.cancel()
        await self._clock.sleep(PAUSE)
        self._kicked.clear()

    async def _look(self) -> None:
        """Let functions be what objects say. An object's fault is told in its status and holds up no other."""
        wanted: dict[str, Place] = {}
        items = dict(self._objects.items)
        for place in sorted(items, key=lambda place: _age(items[place])):
            document = items[place]
            if "deletionTimestamp" not in document["metadata"]:
                await self._settle(place, document, wanted)
        for key, function in list(self._functions.items()):
            place = function.spec.namespace, function.spec.annotations.get(OBJECT, "")
            # An object that cannot be read now does not take its function with it.
            if place[1] and key not in wanted and (place not in items or place in wanted.values()):
                await self._delete(function.spec)

    async def _settle(self, place: Place, document: Document, wanted: dict[str, Place]) -> None:
        try:
            spec = spec_of(document)
            other = wanted.setdefault(spec.key, place)
            if other != place:
                raise InvalidInput(f"spec.name: {spec.name!r} is what the older object {other[1]!r} is for")
            outcome = Outcome(function=await self._applied(spec))
        except InvalidInput as error:
            outcome = Outcome(refused=str(error))
        except PenstockError as error:
            outcome = Outcome(failed=str(error))
        status = status_of(document, outcome, self._clock.now())
        if status != document.get("status"):
            try:
                await self._tell(place, status)
            except PenstockError as error:
                _log.warning("the status of Function %s/%s cannot be written: %s", *place, error)

    async def _applied(self, spec: FunctionSpec) -> Function:
        """The function after it was made what `spec` says."""
        try:
            function = await self._verbs.get(spec.name, spec.namespace)
        except FunctionNotFound:
            _log.info("function %s is deployed from its object", spec.key)
            await self._verbs.deploy(spec)
        else:
            if function.spec == spec:
                return function
            _log.info("function %s is updated from its object", spec.key)
            await self._verbs.update(spec)
        return await self._verbs.get(spec.name, spec.namespace)

    async def _delete(self, spec: FunctionSpec) -> None:
        _log.info("function %s is deleted with its object", spec.key)
        try:
            await self._verbs.delete(spec.name, spec.namespace)
        except FunctionNotFound:
            _log.debug("function %s is gone already", spec.key)
        except PenstockError as error:
            _log.warning("function %s, whose object is gone, cannot be deleted yet: %s", spec.key, error)


class _Wanted(msgspec.Struct):
    """The spec of an object (contract gateway §2.5)."""

    name: str
    image: str
    handler: str | None = None
    environment: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    constraints: list[str] | None = None
    secrets: list[str] | None = None
    limits: Resources | None = None
    requests: Resources | None = None
    readOnlyRootFilesystem: bool = False


def spec_of(document: Document) -> FunctionSpec:
    """The function that an object asks for. Raises InvalidInput."""
    metadata = document["metadata"]
    try:
        wanted = msgspec.convert(document.get("spec"), _Wanted)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"spec: {error}") from error
    return FunctionSpec(
        name=wanted.name,
        namespace=metadata["namespace"],
        image=wanted.image,
        env_process=wanted.handler or "",
        env_vars=wanted.environment or {},
        constraints=tuple(wanted.constraints or ()),
        secrets=tuple(wanted.secrets or ()),
        labels=wanted.labels or {},
        annotations={**(wanted.annotations or {}), OBJECT: metadata["name"]},
        limits=wanted.limits or Resources(),
        requests=wanted.requests or Resources(),
        read_only_root=wanted.readOnlyRootFilesystem,
    )


def _age(document: Document) -> tuple[str, str]:
    """What sorts older objects first; of the same second, by name."""
    metadata = document["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["name"]
