"""Secrets of functions as secrets of the Swarm: immutable there, so each value is a version with a name of its own.

The highest version counts; it may say that the secret is deleted while services still use it. What no service uses any more
goes in `collect`. Called by the provider, which brings new values to functions.
"""

from __future__ import annotations

import base64

from penstock.errors import AlreadyExists, InvalidInput, SecretNotFound
from penstock.model import Secret
from penstock.providers.containers.engine import Document, Engine, EngineRefused
from penstock.providers.swarm import marks
from penstock.providers.swarm.authority import refusal
from penstock.providers.swarm.names import secret_name
from penstock.providers.validation import check_secret

LIMIT = 512_000
"""Bytes; a Swarm takes less than that, and more than none."""
_NOTHING = b'{{""}}'
"""A template that makes an empty file, since a Swarm takes no empty secret."""
_ABSENT, _CONFLICT = 404, 409


class Secrets:
    """Those of one installation."""

    def __init__(self, engine: Engine, installation: str) -> None:
        self._engine = engine
        self._installation = installation

    async def names(self, namespace: str) -> list[str]:
        return sorted(await self.current(namespace))

    async def current(self, namespace: str) -> dict[str, Document]:
        """The Swarm secret with the present value of each. Raises ProviderUnavailable."""
        newest = [versions[-1] for (_, space), versions in (await self._versions()).items() if space == namespace]
        return {_label(secret, marks.NAME): secret for secret in newest if not _deleted(secret)}

    async def create(self, secret: Secret) -> None:
        """Raises AlreadyExists, InvalidInput."""
        self._check(secret)
        versions = (await self._versions()).get((secret.name, secret.namespace), [])
        taken = AlreadyExists(f"secret {secret.name!r} already exists in namespace {secret.namespace!r}")
        if versions and not _deleted(versions[-1]):
            raise taken
        try:
            await self._write(secret, _number(versions[-1]) + 1 if versions else 1)
        except AlreadyExists:
            raise taken from None

    async def update(self, secret: Secret) -> None:
        """Raises SecretNotFound, InvalidInput."""
        self._check(secret)
        versions = await self._of(secret.name, secret.namespace)
        await self._write(secret, _number(versions[-1]) + 1)

    async def delete(self, name: str, namespace: str) -> None:
        """Raises SecretNotFound."""
        newest = (await self._of(name, namespace))[-1]
        spec = {**newest["Spec"], "Labels": {**newest["Spec"]["Labels"], marks.DELETED: "true"}}
        version = str(newest["Version"]["Index"])
        try:
            await self._engine.post(f"/secrets/{newest['ID']}/update", spec, version=version)
        except EngineRefused as error:
            raise refusal(error) from error
        await self.collect()

    async def delete_all(self, namespace: str) -> None:
        for name in await self.names(namespace):
            await self.delete(name, namespace)

    async def collect(self) -> bool:
        """Remove old values that no service uses; whether any is left."""
        left = False
        for versions in (await self._versions()).values():
            *old, newest = versions
            remaining = [secret for secret in old if not await self._remove(secret)]
            # The newest says that the secret is deleted: it goes last, else an older one would count again.
            if _deleted(newest) and (remaining or not await self._remove(newest)):
                left = True
            left = left or bool(remaining)
        return left

    def _check(self, secret: Secret) -> None:
        check_secret(secret)
        if len(secret.value) >= LIMIT:
            raise InvalidInput(
                f"secret: {secret.name!r} has {len(secret.value)} bytes, a Swarm keeps secrets of less than {LIMIT}"
            )

    async def _of(self, name: str, namespace: str) -> list[Document]:
        versions = (await self._versions()).get((name, namespace), [])
        if not versions or _deleted(versions[-1]):
            raise SecretNotFound(f"secret {name!r} not found in namespace {namespace!r}")
        return versions

    async def _versions(self) -> dict[tuple[str, str], list[Document]]:
        """All of ours by name and namespace, each from the first version to the last."""
        try:
            found = await self._engine.get("/secrets", filters=marks.owned(self._installation, marks.SECRET))
        except EngineRefused as error:
            raise refusal(error) from error
        versions: dict[tuple[str, str], list[Document]] = {}
        for secret in sorted(found or (), key=_number):
            key = _label(secret, marks.NAME), _label(secret, marks.NAMESPACE)
            versions.setdefault(key, []).append(secret)
        return versions

    async def _write(self, secret: Secret, version: int) -> None:
        spec: Document = {
            "Name": secret_name(self._installation, secret.name, secret.namespace, version),
            "Labels": {
                **marks.owner(self._installation, marks.SECRET),
                marks.NAME: secret.name,
                marks.NAMESPACE: secret.namespace,
                marks.VERSION: str(version),
            },
            "Data": base64.b64encode(secret.value or _NOTHING).decode(),
        }
        if not secret.value:
            spec["Templating"] = {"Name": "golang"}
        try:
            await self._engine.post("/secrets/create", spec)
        except EngineRefused as error:
            if error.code == _CONFLICT:
                raise AlreadyExists(f"secret {spec['Name']} exists already") from error
            raise refusal(error) from error

    async def _remove(self, secret: Document) -> bool:
        try:
            await self._engine.delete(f"/secrets/{secret['ID']}")
        except EngineRefused as error:
            return error.code == _ABSENT
        return True


def _label(secret: Document, name: str) -> str:
    return str((secret["Spec"].get("Labels") or {}).get(name, ""))


def _number(secret: Document) -> int:
    text = _label(secret, marks.VERSION)
    return int(text) if text.isascii() and text.isdigit() else 0


def _deleted(secret: Document) -> bool:
    return _label(secret, marks.DELETED) == "true"
