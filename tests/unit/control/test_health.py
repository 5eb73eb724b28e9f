"""`/healthz`: asked without credentials, answered by the provider."""

from __future__ import annotations

import pytest

from penstock.errors import ProviderUnavailable
from penstock.providers.memory import MemoryProvider
from tests.unit.control.support import Client


async def test_a_provider_that_answers_is_200_without_body_or_credentials(client: Client) -> None:
    client.authorization = None
    answer = await client.get("/healthz")
    assert (answer.status, answer.body) == (200, b"")


async def test_a_provider_that_does_not_is_503(
    client: Client, provider: MemoryProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down() -> None:
        raise ProviderUnavailable("the engine does not answer")

    monkeypatch.setattr(provider, "health", down)
    assert (await client.get("/healthz")).status == 503
