"""Replicas as processes: a real zygote, real watchdogs, real programs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from penstock.errors import FunctionNotFound, InvalidInput, ProviderUnavailable
from penstock.model import DEFAULT_NAMESPACE, FunctionSpec, LogQuery, Resources, Secret
from penstock.providers.runtimes.process import ProcessRuntime
from tests.integration.providers.runtimes.harness import (
    call,
    deployed,
    die,
    ended,
    long_time,
    pid_of,
    run,
    running_provider,
    running_server,
    runs_with,
    script,
)
from tests.integration.providers.waiting import ready, reason, until

NS = DEFAULT_NAMESPACE
LIMITS = """
import time
for _ in range(3000):  # some limits are set on a program from outside, a moment after its start
    text = open("/proc/self/limits").read()
    if all(number in text for number in (str(64 << 20), " 64 ", " 7 ")):
        break
    time.sleep(0.01)
print(text)
"""
SLOW = """
import pathlib, time
here = pathlib.Path(__file__).parent
(here / "begun").touch()
while not (here / "end").exists():
    time.sleep(0.01)
"""


async def test_a_program_answers_through_its_replica() -> None:
    async with running_provider() as (provider, _):
        assert await run(provider, "upper", "tr a-z A-Z", b"hello") == "HELLO"


async def test_a_program_sees_its_own_environment_and_nothing_of_the_servers() -> None:
    async with running_provider() as (provider, _):
        variables = {"COLOUR": "blue", "PENSTOCK_RUN_ID": "forged", "HOME": "/elsewhere"}
        text = await run(provider, "env", "env", env_vars=variables)
        seen = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        assert seen["COLOUR"] == "blue"
        assert seen["HOME"] == "/elsewhere"
        assert seen["OPENFAAS_NAME"] == "env" and seen["OPENFAAS_NAMESPACE"] == NS
        assert seen["PATH"] == os.environ["PATH"]
        assert not {"SERVER_PASSWORD", "PENSTOCK_RUN_ID", "PENSTOCK_LIFELINE_FD", "VIRTUAL_ENV"} & set(seen)


async def test_the_servers_environment_is_not_in_a_replicas_memory_either() -> None:
    async with running_provider() as (provider, _):
        function = await deployed(provider, "cat", "cat")
        environ = Path(f"/proc/{pid_of(function.endpoints[0])}/environ").read_bytes()
        assert b"not for functions" not in environ


async def test_secrets_are_private_files_in_a_directory_of_the_replicas_own() -> None:
    async with running_provider() as (provider, server):
        await provider.create_secret(Secret(name="key", value=b"\x00\xffvalue\n"))
        function = await deployed(provider, "sees", "env", secrets=("key",))
        _, answer = await call(function.endpoints[0])
        seen = dict(line.split("=", 1) for line in answer.decode().splitlines() if "=" in line)
        path = Path(seen["PENSTOCK_SECRETS_DIR"]) / "key"
        assert path.read_bytes() == b"\x00\xffvalue\n"
        assert path.stat().st_mode & 0o777 == 0o400
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert not list(server.home.state_db.parent.glob("*key*"))


async def test_a_new_value_reaches_replicas_started_from_then_on() -> None:
    async with running_provider() as (provider, _):
        await provider.create_secret(Secret(name="key", value=b"old"))
        await deployed(provider, "sees", "env", secrets=("key",))
        await provider.update_secret(Secret(name="key", value=b"new"))
        await provider.scale("sees", NS, 2)
        function = await ready(provider, "sees", 2)
        values = [(Path(a.removeprefix("unix:")).parent / "secrets/key").read_bytes() for a in function.endpoints]
        assert values == [b"old", b"new"]


async def test_limits_reach_the_program(tmp_path: Path) -> None:
    async with running_provider() as (provider, _):
        program = script(tmp_path, LIMITS)
        limits = Resources(memory="64Mi")
        labels = {"com.penstock.limit.open-files": "64", "com.penstock.limit.cpu-seconds": "7"}
        text = await run(provider, "limited", program, limits=limits, labels=labels)
        assert str(64 << 20) in next(line for line in text.splitlines() if line.startswith("Max data size"))
        assert "64 " in next(line for line in text.splitlines() if line.startswith("Max open files"))
        assert " 7 " in next(line for line in text.splitlines() if line.startswith("Max cpu time"))


async def test_an_image_alone_is_refused_with_the_provider_that_would_run_it() -> None:
    async with running_provider() as (provider, _):
        with pytest.raises(InvalidInput, match="docker provider"):
            await provider.deploy(FunctionSpec(name="img", image="figlet:latest"))
        await provider.deploy(FunctionSpec(name="site", env_vars={"mode": "static", "static_path": "/usr/share"}))
        await provider.deploy(FunctionSpec(name="classic", env_vars={"fprocess": "cat"}))
        await ready(provider, "classic")


async def test_a_killed_replica_leaves_no_program_and_comes_back() -> None:
    async with running_provider() as (provider, _):
        mark = long_time()
        function = await deployed(provider, "sleeper", f"sleep {mark}")
        asking = asyncio.create_task(call(function.endpoints[0]))
        await until("the program runs", lambda: len(runs_with(mark)) == 1)
        os.kill(pid_of(function.endpoints[0]), signal.SIGKILL)
        await until("the program is gone", lambda: not runs_with(mark))
        await asyncio.gather(asking, return_exceptions=True)

        async def started_again() -> bool:
            return (await provider.get("sleeper", NS)).replicas[0].restarts > 0

        await until("its end is known", started_again)
        again = await ready(provider, "sleeper")
        assert again.replicas[0].restarts == 1
        assert again.replicas[0].id == function.replicas[0].id
        assert again.endpoints != function.endpoints


async def test_programs_that_leave_the_session_are_found_as_well(tmp_path: Path) -> None:
    async with running_provider() as (provider, _):
        mark = long_time()
        text = f"import subprocess; subprocess.Popen(['sleep', '{mark}'], start_new_session=True).wait()"
        function = await deployed(provider, "daemon", script(tmp_path, text))
        asking = asyncio.create_task(call(function.endpoints[0]))
        await until("the program runs", lambda: len(runs_with(mark)) == 1)
        os.kill(pid_of(function.endpoints[0]), signal.SIGKILL)
        await until("the program is gone", lambda: not runs_with(mark))
        await asyncio.gather(asking, return_exceptions=True)


async def test_a_replica_that_cannot_start_says_why_and_is_tried_again() -> None:
    async with running_provider() as (provider, _):
        await provider.deploy(FunctionSpec(name="broken", env_vars={"static_path": "/no-such-place", "mode": "static"}))

        async def tried_twice() -> bool:
            replica = (await provider.get("broken", NS)).replicas[0]
            return replica.restarts >= 2 and replica.state == "backoff"

        await until("it was restarted twice", tried_twice)
        # How one ended is told of the next start where the zygote was too slow to tell of this one.
        assert "no-such-place" in await reason(provider, "broken", "exit code 1")


async def test_settings_that_the_watchdog_cannot_use_are_refused_with_the_variable() -> None:
    async with running_provider() as (provider, _):
        with pytest.raises(InvalidInput, match="mode: 'no-such-mode' is unknown"):
            await provider.deploy(FunctionSpec(name="broken", env_vars={"fprocess": "x", "mode": "no-such-mode"}))
        with pytest.raises(InvalidInput, match="cgi_headers: must be false"):
            await provider.deploy(FunctionSpec(name="broken", env_vars={"fprocess": "cat", "mode": "prefork"}))


async def test_replicas_outlive_the_zygote_and_are_restarted_once_it_is_back() -> None:
    async with running_provider() as (provider, server):
        mark = long_time()
        function = await deployed(provider, "survivor", f"sleep {mark}")
        server.kill_zygote()
        await until("the loss is known", lambda: _unhealthy(provider))
        with pytest.raises(ProviderUnavailable, match="zygote"):
            await provider.health()
        asking = asyncio.create_task(call(function.endpoints[0]))
        await until("it still serves", lambda: len(runs_with(mark)) == 1)
        os.kill(pid_of(function.endpoints[0]), signal.SIGKILL)
        await until("its program is gone without a zygote", lambda: not runs_with(mark))
        await asyncio.gather(asking, return_exceptions=True)

        async def says_why() -> bool:
            return "zygote" in (await provider.get("survivor", NS)).replicas[0].reason

        await until("the reason names the zygote", says_why)
        server.start_zygote()
        assert (await ready(provider, "survivor")).replicas[0].restarts == 1


async def test_waking_while_the_zygote_is_away_works_as_soon_as_it_is_back() -> None:
    async with running_provider() as (provider, server):
        await provider.deploy(FunctionSpec(name="late", env_process="cat", labels={"com.openfaas.scale.min": "0"}))
        server.kill_zygote(signal.SIGTERM)
        await until("the loss is known", lambda: _unhealthy(provider))
        await provider.scale("late", NS, 1)
        server.start_zygote()
        await ready(provider, "late")


async def test_a_new_control_process_adopts_the_replicas_of_its_run() -> None:
    with running_server() as server:
        first = server.provider()
        await first.start()
        before = await deployed(first, "kept", "cat")
        await die(first)
        second = server.provider()
        await second.start()
        after = await ready(second, "kept")
        assert after.endpoints == before.endpoints
        assert after.replicas[0].id == before.replicas[0].id
        assert after.created_at == before.created_at
        await second.scale("kept", NS, 0)
        await ready(second, "kept", 0)
        await second.close()


async def test_adopted_replicas_of_deleted_functions_end() -> None:
    with running_server() as server:
        first = server.provider()
        await first.start()
        before = await deployed(first, "gone", "cat")
        pid = pid_of(before.endpoints[0])
        await first._store.remove_function("gone", NS)
        await die(first)
        second = server.provider()
        await second.start()
        await until("its replica has ended", lambda: ended(pid))
        await second.close()


async def test_after_a_kill_of_everything_the_same_functions_run_again_and_nothing_old_is_left() -> None:
    with running_server() as server:
        mark = long_time()
        first = server.provider()
        await first.start()
        old = await deployed(first, "phoenix", f"sleep {mark}")
        await first.scale("phoenix", NS, 2)
        old = await ready(first, "phoenix", 2)
        asking = asyncio.create_task(call(old.endpoints[0]))
        await until("a program runs", lambda: len(runs_with(mark)) == 1)
        server.kill_zygote()
        await die(first)
        pids = [pid_of(address) for address in old.endpoints]
        os.kill(pids[0], signal.SIGKILL)
        server.new_run()
        server.start_zygote()
        server.await_zygote()
        second = server.provider()
        await second.start()
        await asyncio.gather(asking, return_exceptions=True)
        new = await ready(second, "phoenix", 2)
        assert not set(new.endpoints) & set(old.endpoints)
        await until("the program of the earlier run is gone", lambda: not runs_with(mark))
        await until("replicas of the earlier run are gone", lambda: all(map(ended, pids)))
        assert len(server.tokens()) == 2
        await second.close()


async def test_the_end_of_the_supervisor_ends_replicas() -> None:
    with running_server() as server:
        provider = server.provider()
        await provider.start()
        function = await deployed(provider, "orphan", "cat")
        pid = pid_of(function.endpoints[0])
        await die(provider)
        server.end()
        await until("the replica has ended", lambda: ended(pid))


async def test_a_request_in_flight_is_finished_when_its_function_is_deleted(tmp_path: Path) -> None:
    async with running_provider() as (provider, _):
        program = script(tmp_path, SLOW)
        # Its grace is this long: until the answer, it must not be ended by force.
        function = await deployed(provider, "slow", program, env_vars={"write_timeout": "2m"})
        address = function.endpoints[0]
        asking = asyncio.create_task(call(address))
        await until("the program runs", (tmp_path / "begun").exists)
        await provider.delete("slow", NS)
        with pytest.raises(FunctionNotFound):
            await provider.get("slow", NS)
        await until("it takes no new connections", lambda: refuses(address))
        (tmp_path / "end").touch()
        assert (await asking)[0] == 200


async def test_nothing_is_left_of_replicas_that_came_and_went() -> None:
    async with running_provider() as (provider, server):
        await provider.deploy(FunctionSpec(name="moth", env_process="cat"))
        await ready(provider, "moth")
        await provider.scale("moth", NS, 0)
        await ready(provider, "moth", 0)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            await provider.scale("moth", NS, 3)
            await ready(provider, "moth", 3)
            await provider.scale("moth", NS, 0)
            await ready(provider, "moth", 0)
        await until("their directories are gone", lambda: not server.tokens())
        await until("their descriptors are closed", lambda: len(os.listdir("/proc/self/fd")) <= before)
        await until("old logs are gone", lambda: len(list((server.home.logs / NS / "moth").iterdir())) <= 6)
        await until("their processes are gone", lambda: len(server.children()) <= 1)


async def test_deleting_while_waking_leaves_no_process() -> None:
    async with running_provider() as (provider, server):
        await provider.deploy(FunctionSpec(name="brief", env_process="cat", labels={"com.openfaas.scale.min": "0"}))
        await provider.scale("brief", NS, 3)
        await provider.delete("brief", NS)
        assert provider._crew.by_token
        await until("every replica has ended", lambda: not provider._crew.by_token)
        await until("nothing is left", lambda: not server.tokens() and len(server.children()) <= 1)
        await until("their logs are gone", lambda: not (server.home.logs / NS / "brief").exists())


async def test_a_replica_is_asked_to_start_in_the_same_turn_of_the_loop() -> None:
    async with running_provider() as (provider, _):
        await provider.deploy(FunctionSpec(name="instant", env_process="cat", labels={"com.openfaas.scale.min": "0"}))
        waking = provider.scale("instant", NS, 1)
        with pytest.raises(StopIteration):
            waking.send(None)
        assert (await provider.get("instant", NS)).replicas[0].state == "starting"


async def test_logs_have_what_programs_print_by_replica_and_time(tmp_path: Path) -> None:
    async with running_provider() as (provider, _):
        program = script(tmp_path, "import sys; print('to stderr \\u2713', file=sys.stderr); print('answer')")
        function = await deployed(provider, "talker", program, env_vars={"combine_output": "false"})
        await call(function.endpoints[0])

        async def printed() -> bool:
            return any(
                "to stderr \u2713" in line.text
                for line in [line async for line in provider.logs(LogQuery(name="talker"))]
            )

        await until("the line is in the log", printed)
        await provider.scale("talker", NS, 0)
        await ready(provider, "talker", 0)
        # From here on nothing is added to it.
        lines = [line async for line in provider.logs(LogQuery(name="talker"))]
        assert {line.instance for line in lines} == {function.replicas[0].id}
        assert [line.timestamp for line in lines] == sorted(line.timestamp for line in lines)
        last = [line async for line in provider.logs(LogQuery(name="talker", tail=1))]
        assert last == lines[-1:]


async def test_following_shows_new_lines_and_new_replicas() -> None:
    async with running_provider() as (provider, _):
        await deployed(provider, "noisy", "cat")
        seen: list[str] = []

        async def follow() -> None:
            async for line in provider.logs(LogQuery(name="noisy", follow=True)):
                seen.append(line.instance)

        following = asyncio.create_task(follow())
        await until("the first replica is heard", lambda: len(set(seen)) == 1)
        await provider.scale("noisy", NS, 2)
        await until("the second replica is heard", lambda: len(set(seen)) == 2)
        await provider.delete("noisy", NS)
        await asyncio.wait_for(following, 60)


async def test_usage_counts_processor_time_and_memory_of_the_session() -> None:
    async with running_provider() as (provider, _):
        function = await deployed(provider, "busy", "timeout 300 yes", env_vars={"mode": "streaming"})
        reader, writer = await asyncio.open_unix_connection(function.endpoints[0].removeprefix("unix:"))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        draining = asyncio.create_task(_read_on(reader))

        async def busy() -> bool:
            usage = (await provider.get("busy", NS, usage=True)).usage
            return bool(usage and usage.cpu_millis > 10 and usage.memory_bytes > 1 << 20)

        await until("usage is seen", busy)
        draining.cancel()
        writer.close()


async def test_without_a_zygote_starting_fails_with_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("penstock.providers.runtimes.process.ZYGOTE_TIMEOUT", 0.1)
    with running_server() as server:
        server.kill_zygote()
        provider = server.provider()
        with pytest.raises(ProviderUnavailable, match="zygote"):
            await provider.start()


async def test_a_zygote_of_another_run_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.providers.runtimes.process.ZYGOTE_TIMEOUT", 0.5)
    with running_server() as server:
        server.environ["PENSTOCK_RUN_ID"] = "another"

        async def refused() -> bool:
            with pytest.raises(ProviderUnavailable) as refusal:
                await server.provider().start()
            return "another run" in str(refusal.value)

        await until("the reason is told", refused)


async def refuses(address: str) -> bool:
    """Whether nobody listens at a replica's address any more."""
    try:
        _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
    except (FileNotFoundError, ConnectionRefusedError):
        return True
    writer.close()
    return False


def _unhealthy(provider: object) -> bool:
    runtime = provider._runtime  # type: ignore[attr-defined]
    assert isinstance(runtime, ProcessRuntime)
    return not runtime._client.connected


async def _read_on(reader: asyncio.StreamReader) -> None:
    while await reader.read(1 << 16):
        pass
