"""What is sampled of functions that run as processes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from penstock.autoscaler.usage import UsageSampler
from penstock.model import DEFAULT_NAMESPACE, Function, FunctionSpec
from penstock.providers.clock import SystemClock
from tests.integration.providers.runtimes.harness import deployed, running_provider, script
from tests.integration.providers.waiting import until

BUSY = "while True: pass"


async def test_a_busy_loop_is_sampled_as_what_it_gets_of_a_core_and_an_idle_function_as_hardly_any(
    tmp_path: Path,
) -> None:
    async with running_provider() as (provider, _):
        labels = {"com.openfaas.scale.type": "cpu"}
        busy = await deployed(
            provider, "busy", f"timeout 300 {script(tmp_path, BUSY)}", env_vars={"mode": "streaming"}, labels=labels
        )
        idle = await deployed(provider, "idle", "cat", labels=labels)
        functions = {function.key: function for function in (busy, idle)}
        sampler = UsageSampler(provider, functions, SystemClock())
        sampling = asyncio.create_task(sampler.run())
        _, writer = await asyncio.open_unix_connection(busy.endpoints[0].removeprefix("unix:"))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        # Neighbours may leave a small part of a core to it.
        await until("a busy loop is seen", lambda: 40 < (sampler.cpu(busy.key) or 0) < 1500)
        await until("an idle function is seen", lambda: (sampler.cpu(idle.key) or 0) < 40)
        usage = sampler.usage(busy.key)
        assert usage is not None and usage.memory_bytes > 1 << 20
        sampling.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sampling
        writer.close()


async def test_many_functions_are_told_in_one_call_and_those_that_are_gone_are_left_out() -> None:
    async with running_provider() as (provider, _):
        keys = [(await deployed(provider, name, "cat")).key for name in ("one", "two")]
        asked = [*keys, f"gone.{DEFAULT_NAMESPACE}"]

        async def told() -> bool:
            return set(await provider.usages(asked)) == set(keys)

        await until("the second look tells", told)


async def test_what_a_handler_spends_on_its_import_is_no_load(tmp_path: Path) -> None:
    (tmp_path / "handler.py").write_text(
        "import time\nwhile time.process_time() < 4: pass\n\ndef handle(event, context): return 'done'\n"
    )
    labels = {"com.openfaas.scale.type": "cpu"}
    spec = FunctionSpec(name="heavy", env_vars={"mode": "python", "handler": str(tmp_path)}, labels=labels)
    async with running_provider() as (provider, _):
        await provider.deploy(spec)
        functions: dict[str, Function] = {}
        sampler = UsageSampler(provider, functions, SystemClock())
        sampling = asyncio.create_task(sampler.run())
        seen: set[float] = set()

        async def known() -> bool:
            functions[spec.key] = await provider.get("heavy", DEFAULT_NAMESPACE)
            load = sampler.cpu(spec.key)
            seen.update([] if load is None else [load])
            return load is not None

        await until("the load is known", known)
        assert functions[spec.key].available == 1
        assert max(seen) < 400
        usage = sampler.usage(spec.key)
        assert usage is not None
        assert usage.memory_bytes > 1 << 20
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
