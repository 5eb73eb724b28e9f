"""What is sampled of functions that run in containers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from penstock.autoscaler.usage import UsageSampler
from penstock.providers.clock import SystemClock
from penstock.providers.containers import stats
from tests.engines.engine import Engine
from tests.engines.waiting import DEADLINE
from tests.integration.providers.docker.harness import deployed, running_box
from tests.integration.providers.waiting import until

BUSY = 50
"""Thousandths of a processor; a loop has one of its own where nothing else runs, and a small share of it on a busy machine."""

pytestmark = [pytest.mark.service("dockerd", "busybox"), pytest.mark.usefixtures("busybox_image")]


async def test_a_busy_loop_in_a_container_is_sampled(docker_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "LIMIT", DEADLINE)
    async with running_box(docker_engine) as (provider, _):
        labels = {"com.openfaas.scale.type": "cpu"}
        quick = {"mode": "streaming", "write_timeout": "1s"}
        busy = await deployed(provider, "busy", "busybox timeout 300 yes", env_vars=quick, labels=labels)
        sampler = UsageSampler(provider, {busy.key: busy}, SystemClock())
        sampling = asyncio.create_task(sampler.run())
        await until("an idle function is seen", lambda: is_idle(sampler.cpu(busy.key)))
        host, _, port = busy.endpoints[0].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        reading = asyncio.create_task(drain(reader))
        await until("a busy one is seen", lambda: (sampler.cpu(busy.key) or 0) > BUSY)
        usage = sampler.usage(busy.key)
        assert usage is not None and usage.memory_bytes > 1 << 18
        for task in (sampling, reading):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        writer.close()


def is_idle(cpu: float | None) -> bool:
    return cpu is not None and cpu < BUSY


async def drain(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 20):
        pass
