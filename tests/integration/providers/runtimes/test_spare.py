"""The process that stands by is only ever a shortcut."""

from __future__ import annotations

import os
import signal

from penstock.model import DEFAULT_NAMESPACE, FunctionSpec
from tests.integration.providers.runtimes.harness import call, deployed, ended, pid_of, running_provider, running_server
from tests.integration.providers.waiting import ready, until


async def test_the_next_replica_is_the_process_that_stood_by() -> None:
    async with running_provider() as (provider, server):
        await until("a spare stands by", lambda: len(server.children()) == 1)
        (spare,) = server.children()
        function = await deployed(provider, "f", "cat")
        assert pid_of(function.endpoints[0]) == spare
        assert (await call(function.endpoints[0], b"hello"))[1] == b"hello"
        await until("another stands by", lambda: len(server.children()) == 2)


async def test_many_at_once_do_not_wait_for_spares() -> None:
    async with running_provider() as (provider, server):
        await until("a spare stands by", lambda: len(server.children()) == 1)
        await provider.deploy(FunctionSpec(name="many", env_process="cat", labels={"com.openfaas.scale.min": "5"}))
        function = await ready(provider, "many", 5)
        assert len({pid_of(address) for address in function.endpoints}) == 5


async def test_a_spare_that_dies_is_replaced_and_missed_by_nobody() -> None:
    async with running_provider() as (provider, server):
        await until("a spare stands by", lambda: len(server.children()) == 1)
        (spare,) = server.children()
        os.kill(spare, signal.SIGKILL)
        await deployed(provider, "f", "cat")
        await until("another stands by", lambda: spare not in server.children() and len(server.children()) == 2)


async def test_a_specification_too_long_for_a_spare_is_forked() -> None:
    async with running_provider() as (provider, server):
        await until("a spare stands by", lambda: len(server.children()) == 1)
        (spare,) = server.children()
        function = await deployed(provider, "long", "cat", env_vars={"LONG": "x" * 100_000})
        assert pid_of(function.endpoints[0]) != spare
        await until("the spare left", lambda: spare not in server.children())


async def test_a_replica_that_is_stopped_while_it_starts_ends() -> None:
    async with running_provider() as (provider, server):
        for _ in range(10):
            await provider.deploy(FunctionSpec(name="brief", env_process="cat"))
            await provider.delete("brief", DEFAULT_NAMESPACE)
        await until("nothing is left", lambda: not server.tokens() and len(server.children()) <= 1)


async def test_the_spare_leaves_with_the_zygote() -> None:
    with running_server() as server:
        await until("the zygote is through with its rehearsal", server.home.zygote_socket.exists)
        await until("a spare stands by", lambda: len(server.children()) == 1)
        (spare,) = server.children()
        server.kill_zygote()
        await until("the spare left", lambda: ended(spare))
