"""Secrets of functions, as Secrets of the cluster: Opaque, with one value under their own name.

Called by the provider. Values are written and never read back; other kinds and owners of secrets can be used by functions, and are
neither listed nor changed.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any

from penstock.core.names import check_secret_name
from penstock.errors import AlreadyExists, SecretNotFound
from penstock.model import Secret
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.errors import ApiConflict, ApiNotFound
from penstock.providers.kubernetes.client.kinds import SECRET
from penstock.providers.validation import check_secret, check_secrets_exist

Document = dict[str, Any]

OPAQUE = "Opaque"


class Secrets:
    """Those of one installation."""

    def __init__(self, api: Api, installation: str) -> None:
        self._api, self._installation = api, installation

    async def names(self, namespace: str) -> list[str]:
        listing = await self._api.list(SECRET, namespace, marks.owner(self._installation))
        return sorted(item["metadata"]["name"] for item in listing.items)

    async def create(self, secret: Secret) -> None:
        """Raises AlreadyExists, InvalidInput."""
        check_secret(secret)
        try:
            await self._api.create(SECRET, self._document(secret))
        except ApiConflict as error:
            raise AlreadyExists(f"secret {secret.name} already exists in namespace {secret.namespace}") from error

    async def update(self, secret: Secret) -> None:
        """Raises SecretNotFound, InvalidInput."""
        check_secret(secret)
        live = await self._own(secret.name, secret.namespace)
        document = self._document(secret)
        document["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
        try:
            await self._api.replace(SECRET, document)
        except ApiNotFound as error:
            raise _absent(secret.name, secret.namespace) from error

    async def delete(self, name: str, namespace: str) -> None:
        """Raises SecretNotFound, and InvalidInput for what can be no name."""
        check_secret_name(name)
        live = await self._own(name, namespace)
        try:
            await self._api.delete(SECRET, name, namespace, uid=live["metadata"]["uid"])
        except ApiNotFound as error:
            raise _absent(name, namespace) from error

    async def types(self, wanted: Iterable[str], namespace: str) -> dict[str, str]:
        """The type of each secret that is not Opaque, whosever it is. Raises InvalidInput for those that do not exist."""
        names = list(dict.fromkeys(wanted))
        found = await asyncio.gather(*(self._find(name, namespace) for name in names))
        documents = {name: document for name, document in zip(names, found, strict=True) if document}
        check_secrets_exist(names, documents, namespace)
        kinds = {name: str(document.get("type") or OPAQUE) for name, document in documents.items()}
        return {name: kind for name, kind in kinds.items() if kind != OPAQUE}

    async def _find(self, name: str, namespace: str) -> Document | None:
        try:
            return await self._api.get(SECRET, name, namespace)
        except ApiNotFound:
            return None

    async def _own(self, name: str, namespace: str) -> Document:
        document = await self._find(name, namespace)
        if not document or not marks.is_ours(document, self._installation):
            raise _absent(name, namespace)
        return document

    def _document(self, secret: Secret) -> Document:
        metadata = {"name": secret.name, "namespace": secret.namespace, "labels": marks.owner(self._installation)}
        value = base64.b64encode(secret.value).decode()
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": OPAQUE,
            "metadata": metadata,
            "data": {secret.name: value},
        }


def _absent(name: str, namespace: str) -> SecretNotFound:
    return SecretNotFound(f"secret {name} not found in namespace {namespace}")
