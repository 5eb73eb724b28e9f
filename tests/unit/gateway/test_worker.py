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


async def test_it_is_ready_once_the_functions_are_known_whatever_control_says(gateway: Gateway) -> None:
    assert (await gateway.call("/readyz")).status == 503
    gateway.control.sessions[0].send(Synced())
    await eventually(lambda: gateway.worker.routes.synced, "the picture")
    assert (await gateway.call("/readyz")).status == 200
    assert (await gateway.call("/healthz")).status != 200, "nobody is behind the control socket"
