"""The suite finds providers that break the rules."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock.model import Function, FunctionSpec
from penstock.providers.memory import MemoryProvider
from penstock.testing.kit import Kit
from penstock.testing.provider_suite import run_suite


class Forgetful(MemoryProvider):
    async def get(self, name: str, namespace: str, usage: bool = False) -> Function:
        function = await super().get(name, namespace, usage)
        return Function(spec=FunctionSpec(name=name), desired=function.desired, created_at=function.created_at)

    async def scale(self, name: str, namespace: str, replicas: int) -> None:
        if replicas >= 0:
            await super().scale(name, namespace, replicas)


@asynccontextmanager
async def kit() -> AsyncIterator[Kit]:
    provider = Forgetful()
    await provider.start()
    try:
        yield Kit(provider, timeout=0.05)
    finally:
        await provider.close()


def test_a_provider_that_breaks_rules_is_told_which() -> None:
    failures = {name: str(failure) for name, failure in run_suite(kit).items() if failure}
    assert "within 0.05 s" in failures["a_deployed_function_becomes_ready_with_addresses"]
    assert failures["a_specification_is_reported_as_given"] == "the specification comes back unchanged"
    assert "hostile_secrets_are_refused" not in failures
