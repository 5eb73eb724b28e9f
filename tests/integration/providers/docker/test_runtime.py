"""Functions in containers of a real engine: what runs in them, with what rights, limits, secrets and addresses."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from typing import Any

import pytest

from penstock.model import DEFAULT_NAMESPACE, LogLine, LogQuery, Namespace, Resources, Secret
from penstock.providers.containers import stats
from tests.engines.engine import Engine
from tests.engines.images import import_busybox
from tests.engines.waiting import DEADLINE
from tests.integration.providers.docker.harness import IMAGE, answer, boxed, call, deployed, running_box, spec, started
from tests.integration.providers.waiting import ready, reason, until

pytestmark = [pytest.mark.service("dockerd", "busybox"), pytest.mark.usefixtures("busybox_image")]


HTTPD = ['CMD ["httpd", "-f", "-p", "8000", "-h", "/"]']
OWNING = ["/bin/sh", "-c", "busybox touch /tmp/x && busybox chown 1000 /tmp/x && exec httpd -f -p 8000 -h /"]
"""What images do that prepare their folders as root."""
QUICK = {"write_timeout": "1s"}
"""For programs that do not end when they are told to."""


def copy_out(engine: Engine, container: str, tag: str) -> None:
    """An image of a container's /penstock."""
    folder = engine.folder / "copied"
    engine.docker("cp", f"{container}:/penstock", str(folder))
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        archive.add(folder, "penstock")
    engine.docker("rm", container)
    engine.docker("import", "-", tag, data=data.getvalue())


# What runs


async def test_a_program_of_an_unmodified_image_is_a_function(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        function = await deployed(provider, "upper", "busybox sed s/a/A/")
        assert await answer(function, b"banana\n") == "bAnana\n"
        assert function.replicas[0].started_at
        assert len(box.containers()) == 1
    assert not box.containers()


async def test_an_image_that_serves_http_on_its_port_runs_as_it_is(docker_engine: Engine) -> None:
    import_busybox(docker_engine, "web:1", HTTPD)
    async with running_box(docker_engine) as (provider, box):
        labels = {"com.penstock.http-port": "8000"}
        function = await deployed(provider, "web", "", image="web:1", labels=labels, env_vars=QUICK)
        assert function.endpoints[0].endswith(":8000")
        [container] = box.containers()
        assert box.inspect(container)["Config"]["Cmd"] == ["httpd", "-f", "-p", "8000", "-h", "/"]
        assert "/penstock" not in json.dumps(box.inspect(container)["HostConfig"])


async def test_a_function_sees_its_environment_and_its_name(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, _):
        function = await deployed(provider, "seer", "env", env_vars={"GREETING": "good day = fine ✓"})
        seen = dict(line.split("=", 1) for line in (await answer(function)).splitlines())
        assert seen["GREETING"] == "good day = fine ✓"
        assert seen["OPENFAAS_NAME"] == "seer"


async def test_functions_of_one_name_in_two_namespaces_are_two(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        await provider.create_namespace(Namespace(name="other"))
        await deployed(provider, "twin", "echo first")
        await provider.deploy(spec("twin", "echo second", namespace="other"))

        async def there() -> bool:
            return (await provider.get("twin", "other")).available == 1

        await until("the second is ready", there)
        assert await answer(await provider.get("twin", "other")) == "second\n"
        assert len(box.containers()) == 2


async def test_the_watchdog_can_come_from_another_image(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, _):
        await deployed(provider, "first")  # fills the volume that the image is made of
        volume = docker_engine.docker("volume", "ls", "-q", "--filter", "label=com.penstock.kind=bundle").split()[0]
    source = docker_engine.docker("create", "--network", "none", "-v", f"{volume}:/penstock:ro", IMAGE, "true")
    await asyncio.to_thread(copy_out, docker_engine, source, "watchdog:1")
    async with running_box(docker_engine, watchdog_image="watchdog:1") as (provider, box):
        assert await answer(await deployed(provider, "second"), b"served") == "served"
        [mount] = box.inspect(box.containers()[0])["Mounts"]
        assert "-image-" in mount["Name"]


async def test_an_image_without_a_watchdog_is_no_source_of_one(docker_engine: Engine) -> None:
    async with running_box(docker_engine, watchdog_image=IMAGE) as (provider, _):
        await provider.deploy(spec("hopeless"))
        await reason(provider, "hopeless", f"watchdog_image: {IMAGE} holds no watchdog")


# Rights and limits


async def test_a_container_has_no_rights_that_it_does_not_need(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, box):
        function = await deployed(provider, "humble", "cat /proc/self/status")
        status = dict(line.split(":\t", 1) for line in (await answer(function)).splitlines() if ":\t" in line)
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert status["NoNewPrivs"] == "1"
        assert status["Uid"].split() == ["12000"] * 4
        config = box.inspect(box.containers()[0])["HostConfig"]
        assert config["PidsLimit"] == 1024
        assert not config["Privileged"]
        assert config["RestartPolicy"]["Name"] == "no"
        assert config["LogConfig"]["Config"] == {"max-size": str(5 << 20), "max-file": "2"}


async def test_an_image_that_changes_owners_starts_with_the_capability_that_its_end_without_it_names(
    docker_engine: Engine,
) -> None:
    import_busybox(docker_engine, "owning:1", [f"ENTRYPOINT {json.dumps(OWNING)}"])
    fields: dict[str, Any] = {"image": "owning:1", "env_vars": QUICK}
    port = {"com.penstock.http-port": "8000"}
    async with running_box(docker_engine) as (provider, box):
        await provider.deploy(spec("owning", "", labels=port, **fields))
        assert "Operation not permitted" in await reason(provider, "owning", "--capability CHOWN")
        labels = {**port, "com.penstock.capabilities": "cap_chown"}
        await provider.update(spec("owning", "", labels=labels, **fields))
        container = box.container_at((await ready(provider, "owning")).endpoints[0])
        assert docker_engine.docker("exec", container, "busybox", "stat", "-c", "%u", "/tmp/x") == "1000"
        status = docker_engine.docker("exec", container, "cat", "/proc/1/status")
        seen = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert {int(seen[name], 16) for name in ("CapPrm", "CapEff", "CapBnd")} == {1}  # CAP_CHOWN alone
        assert seen["NoNewPrivs"] == "1"


async def test_a_read_only_root_can_be_written_in_tmp_only(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, _):
        function = await deployed(provider, "solid", "busybox touch /tmp/fine /bad", read_only_root=True)
        status, said = await call(function.endpoints[0])
        assert status == 500
        assert b"/bad: Read-only file system" in said
        assert b"fine" not in said


async def test_limits_and_requests_reach_the_engine(docker_engine: Engine) -> None:
    labels = {
        "com.penstock.limit.processes": "64",
        "com.penstock.limit.open-files": "200",
        "com.penstock.allow-new-privileges": "true",
    }
    async with running_box(docker_engine) as (provider, box):
        given = {"limits": Resources(memory="64Mi", cpu="500m"), "requests": Resources(memory="1Gi", cpu="0.25")}
        function = await deployed(provider, "bounded", "cat /proc/self/limits", labels=labels, **given)
        config = box.inspect(box.containers()[0])["HostConfig"]
        assert (config["Memory"], config["MemorySwap"], config["MemoryReservation"]) == (64 << 20,) * 3
        assert (config["NanoCpus"], config["CpuShares"], config["PidsLimit"]) == (500_000_000, 256, 64)
        assert "no-new-privileges" not in (config["SecurityOpt"] or [])
        assert any(
            line.split()[3:5] == ["200", "200"] for line in (await answer(function)).splitlines() if "open f" in line
        )


# Secrets


@pytest.mark.parametrize("read_only", [False, True])
async def test_secrets_are_files_and_nowhere_else(docker_engine: Engine, read_only: bool) -> None:
    async with running_box(docker_engine) as (provider, box):
        value = b"\x00\xffvery secret\n"
        await provider.create_secret(Secret(name="key", value=value))
        await provider.create_secret(Secret(name="empty.one", value=b""))
        program = "cat /var/openfaas/secrets/key /var/openfaas/secrets/empty.one"
        function = await deployed(provider, "holder", program, secrets=("key", "empty.one"), read_only_root=read_only)
        assert await call(function.endpoints[0]) == (200, value)
        [container] = box.containers()
        told = docker_engine.docker("inspect", container) + docker_engine.docker("logs", container)
        assert "very secret" not in told
        before = docker_engine.docker("volume", "ls", "-q").split()
        await provider.delete("holder", DEFAULT_NAMESPACE)
        await until(
            "its secrets are gone", lambda: len(docker_engine.docker("volume", "ls", "-q").split()) < len(before)
        )


async def test_a_function_cannot_change_its_secrets(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, _):
        await provider.create_secret(Secret(name="key", value=b"fixed"))
        function = await deployed(provider, "meddler", "busybox rm /var/openfaas/secrets/key", secrets=("key",))
        assert (await call(function.endpoints[0]))[0] == 500


# Addresses


async def test_a_port_can_be_published_instead(docker_engine: Engine) -> None:
    async with running_box(docker_engine, docker_connect="port") as (provider, _):
        await provider.deploy(spec("open", "echo through the port"))
        address = ""

        async def addressed() -> bool:
            nonlocal address
            address = (await provider.get("open", DEFAULT_NAMESPACE)).replicas[0].address
            return bool(address)

        await until("it has an address", addressed)
        assert address.startswith("127.0.0.1:")
        sandbox = docker_engine.sandbox

        def served() -> bool:
            try:
                return "through the port" in sandbox.run("busybox", "wget", "-qO-", f"http://{address}/")
            except AssertionError:
                return False

        await until("it answers on the engine's machine", served)


async def test_addresses_are_tried_by_themselves(docker_engine: Engine) -> None:
    """The bridge of the engine's sandbox is not this machine's: a port is published."""
    async with boxed(docker_engine, docker_connect="auto") as box, started(box) as provider:
        await provider.deploy(spec("auto"))

        async def published() -> bool:
            return (await provider.get("auto", DEFAULT_NAMESPACE)).replicas[0].address.startswith("127.0.0.1:")

        await until("its port is published", published)


# Logs and usage


async def test_what_a_crashed_container_said_can_still_be_read(docker_engine: Engine) -> None:
    import_busybox(docker_engine, "crash:1", ['CMD ["cat", "/not-there"]', "EXPOSE 8080"])
    async with running_box(docker_engine) as (provider, _):
        await provider.deploy(spec("crash", "", image="crash:1"))
        await reason(provider, "crash", "not-there")
        lines = list[LogLine]()

        async def told() -> bool:
            lines[:] = [line async for line in provider.logs(LogQuery(name="crash"))]
            return bool(lines)

        await until("its log can be read", told)
        assert {line.text for line in lines} == {"cat: can't open '/not-there': No such file or directory"}
        assert {line.instance for line in lines} == {
            one.id for one in (await provider.get("crash", DEFAULT_NAMESPACE)).replicas
        }


async def test_usage_is_that_of_all_replicas(docker_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "LIMIT", DEADLINE)
    async with running_box(docker_engine) as (provider, _):
        await deployed(provider, "hungry", labels={"com.openfaas.scale.min": "2"})
        usage = (await provider.get("hungry", DEFAULT_NAMESPACE, usage=True)).usage
        assert usage is not None
        assert 2 << 20 < usage.memory_bytes < 1 << 30


async def test_what_a_replica_waits_for_is_told(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, _):
        await provider.deploy(spec("slow"))
        [replica] = (await provider.get("slow", DEFAULT_NAMESPACE)).replicas
        assert (replica.state, replica.address) == ("starting", "")
        assert replica.reason
        await ready(provider, "slow")


async def test_the_provider_says_what_it_runs_on(docker_engine: Engine) -> None:
    async with running_box(docker_engine) as (provider, _):
        info = provider.info()
        assert info.provider == "docker"
        assert info.orchestration.startswith("docker 2")
        assert provider.capabilities.runs_images
        await provider.health()
