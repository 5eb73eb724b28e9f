"""Namespaces, each kept in a config object of the Swarm whose labels hold what its owner said of it.

Called by the provider. Networks of namespaces are made by `networks` when the first function needs one.
"""

from __future__ import annotations

import base64

import msgspec

from penstock.errors import AlreadyExists, NamespaceNotFound
from penstock.model import DEFAULT_NAMESPACE, Namespace
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.swarm import marks
from penstock.providers.swarm.authority import refusal
from penstock.providers.swarm.names import config_name

_CONFLICT, _ABSENT = 409, 404


class Namespaces:
    """Those of one installation; the default one is always there."""

    def __init__(self, engine: Engine, installation: str) -> None:
        self._engine = engine
        self._installation = installation
        self._known: dict[str, Namespace] = {}

    async def require(self, name: str) -> None:
        """Raises NamespaceNotFound; another gateway may have made one that is not known here."""
        if not self._is_known(name):
            await self.load()
        self._check(name)

    def all(self) -> list[Namespace]:
        """The default one first, then the others by name."""
        others = sorted(name for name in self._known if name != DEFAULT_NAMESPACE)
        default = self._known.get(DEFAULT_NAMESPACE, Namespace(name=DEFAULT_NAMESPACE))
        return [default, *(self._known[name] for name in others)]

    async def load(self) -> None:
        """Raises ProviderUnavailable."""
        found = [_namespace_of(config) for config in await self._configs()]
        self._known = {namespace.name: namespace for namespace in found if namespace}

    async def create(self, namespace: Namespace) -> None:
        """Raises AlreadyExists."""
        await self.load()
        taken = AlreadyExists(f"namespace {namespace.name} already exists")
        if namespace.name == DEFAULT_NAMESPACE or namespace.name in self._known:
            raise taken
        try:
            await self._make(namespace)
        except EngineRefused as error:
            raise taken if error.code == _CONFLICT else refusal(error) from error
        self._known[namespace.name] = namespace

    async def update(self, namespace: Namespace) -> None:
        """Raises NamespaceNotFound."""
        await self.load()
        self._check(namespace.name)
        try:
            config = await self._find(namespace.name)
            if config:
                spec = {**config["Spec"], "Labels": self._labels(namespace)}
                version = str(config["Version"]["Index"])
                await self._engine.post(f"/configs/{config['ID']}/update", spec, version=version)
            else:
                await self._make(namespace)
        except EngineRefused as error:
            raise refusal(error) from error
        self._known[namespace.name] = namespace

    async def delete(self, name: str) -> None:
        self._known.pop(name, None)
        config = await self._find(name)
        if not config:
            return
        try:
            await self._engine.delete(f"/configs/{config['ID']}")
        except EngineRefused as error:
            if error.code != _ABSENT:
                raise refusal(error) from error

    def _is_known(self, name: str) -> bool:
        return name == DEFAULT_NAMESPACE or name in self._known

    def _check(self, name: str) -> None:
        if not self._is_known(name):
            raise NamespaceNotFound(f"namespace {name} not found")

    async def _make(self, namespace: Namespace) -> None:
        spec = {
            "Name": config_name(self._installation, namespace.name),
            "Labels": self._labels(namespace),
            # A config cannot be empty; all that it keeps is in its labels, which can be changed.
            "Data": base64.b64encode(namespace.name.encode()).decode(),
        }
        await self._engine.post("/configs/create", spec)

    def _labels(self, namespace: Namespace) -> dict[str, str]:
        return {
            **marks.owner(self._installation, marks.NAMESPACES),
            marks.NAMESPACE: namespace.name,
            marks.OBJECT: msgspec.json.encode(namespace).decode(),
        }

    async def _find(self, name: str) -> Document | None:
        for config in await self._configs():
            if config["Spec"]["Labels"].get(marks.NAMESPACE) == name:
                return config
        return None

    async def _configs(self) -> list[Document]:
        try:
            found = await self._engine.get("/configs", filters=marks.owned(self._installation, marks.NAMESPACES))
        except EngineRefused as error:
            raise refusal(error) from error
        return list(found or ())


def _namespace_of(config: Document) -> Namespace | None:
    try:
        return msgspec.json.decode(config["Spec"]["Labels"][marks.OBJECT], type=Namespace)
    except (KeyError, msgspec.DecodeError):
        return None
