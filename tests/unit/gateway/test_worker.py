"""The worker as a whole, inside this process: what it answers of its own health."""

from __future__ import annotations

from penstock.gateway.messages import Synced
from tests.unit.gateway.support import Gateway, Recorder, eventually


async def test_health_is_503_until_the_functions_are_known_and_then_controls_word(gateway: Gateway) -> None:
    await gateway.control_api(Recorder())
    answer = await gateway.call("/healthz")
    assert (answer.status, answer.get("retry-after"), answer.get("x-openfaas-internal")) == (503, "1", "gateway")
    gateway.control.sessions[0].send(Synced())
    await eventually(lambda: gateway.worker.routes.synced, "the picture")
    assert (await gateway.call("/healthz")).status == 200
