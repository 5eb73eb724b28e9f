"""Pulls by a real Docker Engine from a real registry: what Penstock says and does when they work and when they do not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import re
import tarfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from penstock.errors import InvalidInput
from penstock.providers.containers.constraints import check_platform, node_of
from penstock.providers.containers.engine import Engine as Api
from penstock.providers.containers.images import Images, ImageUnavailable, PullPolicy
from tests.engines.engine import Engine
from tests.engines.fixtures import StartEngine, or_absent, require
from tests.engines.images import Root, busybox_root, import_busybox, import_root
from tests.engines.registry import Registry
from tests.engines.waiting import DEADLINE

pytestmark = pytest.mark.service("dockerd", "docker-registry", "busybox")

ACCOUNT = ("ann", "pass:word")
BIG = 24 << 20
"""Bytes that no disk of SMALL_DISK has room for."""
SMALL_DISK = "size=16m"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
MANIFEST_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture
async def api(docker_engine: Engine) -> AsyncIterator[Api]:
    async for opened in opened_api(docker_engine):
        yield opened


async def opened_api(engine: Engine) -> AsyncIterator[Api]:
    api = Api({"DOCKER_HOST": engine.url})
    await api.open()
    yield api
    await api.close()


def images_of(api: Api, policy: PullPolicy = "missing", config: Path | None = None) -> Images:
    return Images(api, policy, {"DOCKER_CONFIG": str(config or "/nonexistent")})


def published(engine: Engine, registry: Registry, name: str, *changes: str) -> str:
    """An image that the registry has and the engine has not."""
    tag = import_busybox(engine, f"{registry.host}/{name}", ["CMD cat", *changes])
    engine.docker("push", tag)
    engine.docker("rmi", tag)
    return tag


def silent(words: str) -> None:
    pass


# With a registry that anybody may pull from


async def test_an_image_is_pulled_once_and_its_facts_are_read(
    api: Api, docker_engine: Engine, docker_registry: Registry
) -> None:
    tag = published(docker_engine, docker_registry, "facts:1", "ENV A=b=c", "EXPOSE 80", "USER 7", "WORKDIR /srv")
    said = list[str]()
    facts = await images_of(api).ensure(tag, said.append)
    assert (facts.os, facts.command, facts.environ["A"], facts.ports) == (
        "linux",
        ("/bin/sh", "-c", "cat"),
        "b=c",
        (80,),
    )
    assert (facts.user, facts.working_dir, facts.digest[:7]) == ("7", "/srv", "sha256:")
    assert said[0] == f"pulling {tag}"
    again = list[str]()
    assert await images_of(api).ensure(tag, again.append) == facts
    assert again == []


async def test_an_image_is_pulled_by_its_digest(api: Api, docker_engine: Engine, docker_registry: Registry) -> None:
    tag = published(docker_engine, docker_registry, "digest:1")
    digest = (await images_of(api).ensure(tag, silent)).digest
    docker_engine.docker("rmi", tag)
    assert await images_of(api).facts(tag) is None
    named = f"{docker_registry.host}/digest@{digest}"
    assert (await images_of(api).ensure(named, silent)).digest == digest


async def test_what_is_to_be_pulled_always_follows_its_tag(
    api: Api, docker_engine: Engine, docker_registry: Registry
) -> None:
    tag = published(docker_engine, docker_registry, "moving:1", "ENV VERSION=1")
    assert (await images_of(api, "always").ensure(tag, silent)).environ["VERSION"] == "1"
    docker_engine.docker("rmi", tag)
    published(docker_engine, docker_registry, "moving:1", "ENV VERSION=2")
    old = published(docker_engine, docker_registry, "moving:0", "ENV VERSION=1")
    docker_engine.docker("pull", old)
    docker_engine.docker("tag", old, tag)
    assert (await images_of(api, "missing").ensure(tag, silent)).environ["VERSION"] == "1"
    assert (await images_of(api, "always").ensure(tag, silent)).environ["VERSION"] == "2"


async def test_nothing_is_pulled_when_nothing_shall_be(
    api: Api, docker_engine: Engine, docker_registry: Registry
) -> None:
    tag = published(docker_engine, docker_registry, "never:1")
    with pytest.raises(ImageUnavailable, match="is not on the engine"):
        await images_of(api, "never").ensure(tag, silent)
    assert await images_of(api).facts(tag) is None


async def test_a_missing_image_is_told(api: Api, docker_registry: Registry) -> None:
    with pytest.raises(ImageUnavailable, match="has no such image; check its name and tag") as error:
        await images_of(api).ensure(f"{docker_registry.host}/nothing:1", silent)
    assert error.value.cause == "missing"


async def test_a_registry_that_is_not_there_is_told(api: Api) -> None:
    with pytest.raises(ImageUnavailable, match=r"127\.0\.0\.1:1 cannot be reached from the engine's machine") as error:
        await images_of(api).ensure("127.0.0.1:1/echo", silent)
    assert error.value.cause == "unreachable"


async def test_a_registry_without_a_name_is_told(api: Api) -> None:
    with pytest.raises(ImageUnavailable) as error:
        await images_of(api).ensure("registry.invalid/echo", silent)
    assert error.value.cause == "unreachable"


async def test_an_image_that_exists_for_other_machines_only_is_told(
    api: Api, docker_engine: Engine, docker_registry: Registry
) -> None:
    published(docker_engine, docker_registry, "foreign:native")
    offer_for(docker_registry, "foreign", "native", "s390x")
    with pytest.raises(ImageUnavailable, match="has none for this machine; build it for linux/") as error:
        await images_of(api).ensure(f"{docker_registry.host}/foreign:s390x", silent)
    assert error.value.cause == "platform"


async def test_an_image_for_another_machine_that_is_present_is_refused(api: Api, docker_engine: Engine) -> None:
    load_for(docker_engine, "foreign:1", "s390x")
    facts = await images_of(api).ensure("foreign:1", silent)
    node = node_of(await api.get("/info"))
    with pytest.raises(InvalidInput, match=f"foreign:1 is for linux/s390x, this machine is linux/{node.architecture}"):
        check_platform(facts, node)


async def test_an_image_of_this_machine_is_not_refused(api: Api, busybox_image: str) -> None:
    facts = await images_of(api).ensure(busybox_image, silent)
    node = node_of(await api.get("/info"))
    assert facts.architecture == node.architecture
    check_platform(facts, node)


def load_for(engine: Engine, tag: str, architecture: str) -> None:
    """Give the engine an image without files that says it is for this architecture."""
    empty = io.BytesIO()
    tarfile.open(fileobj=empty, mode="w").close()
    layer = empty.getvalue()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
    config = {"architecture": architecture, "os": "linux", "config": {"Cmd": ["cat"]}, "rootfs": rootfs}
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]
    archive = Root()
    archive.add("layer.tar", layer)
    archive.add("config.json", json.dumps(config).encode())
    archive.add("manifest.json", json.dumps(manifest).encode())
    engine.docker("load", data=archive.packed())


def offer_for(registry: Registry, name: str, tag: str, architecture: str) -> None:
    """Let the registry offer the image of a tag for this architecture only, under a tag of its name."""
    manifests = f"http://{registry.address}/v2/{name}/manifests"
    with urllib.request.urlopen(urllib.request.Request(f"{manifests}/{tag}", headers={"Accept": MANIFEST})) as answer:
        data, digest = answer.read(), answer.headers["Docker-Content-Digest"]
    entry = {
        "mediaType": MANIFEST,
        "size": len(data),
        "digest": digest,
        "platform": {"architecture": architecture, "os": "linux"},
    }
    index = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST_LIST, "manifests": [entry]}).encode()
    request = urllib.request.Request(
        f"{manifests}/{architecture}", data=index, headers={"Content-Type": MANIFEST_LIST}, method="PUT"
    )
    urllib.request.urlopen(request).close()


# With a registry that wants a login, and that the tests may stop


class Guarded:
    """An engine with a registry of its own."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.registry = Registry(engine.sandbox, ACCOUNT)
        user, password = ACCOUNT
        engine.docker("login", "-u", user, "--password-stdin", self.registry.host, data=password.encode())
        self.config = engine.folder / "config"
        """Where the login is kept."""


@pytest.fixture(scope="module")
def guarded(start_module_engine: StartEngine) -> Iterator[Guarded]:
    require("docker-registry")
    engine = start_module_engine()
    with or_absent():
        guarded = Guarded(engine)
    yield guarded
    guarded.registry.close()


@pytest.fixture
async def guarded_api(guarded: Guarded) -> AsyncIterator[Api]:
    async for opened in opened_api(guarded.engine):
        yield opened


def keep_login(folder: Path, guarded: Guarded, password: str) -> Path:
    auth = base64.b64encode(f"{ACCOUNT[0]}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {guarded.registry.host: {"auth": auth}}}))
    return folder


async def test_the_login_that_docker_has_kept_is_used(guarded: Guarded, guarded_api: Api) -> None:
    tag = published(guarded.engine, guarded.registry, "guarded:1")
    images = images_of(guarded_api, config=guarded.config)
    assert (await images.ensure(tag, silent)).command == ("/bin/sh", "-c", "cat")


async def test_without_a_login_one_is_advised(guarded: Guarded, guarded_api: Api) -> None:
    tag = published(guarded.engine, guarded.registry, "anonymous:1")
    with pytest.raises(ImageUnavailable, match=r"none is known; .*docker login 127\.0\.0\.1:5000") as error:
        await images_of(guarded_api).ensure(tag, silent)
    assert error.value.cause == "login"


async def test_a_wrong_login_is_named_without_its_password(guarded: Guarded, guarded_api: Api, tmp_path: Path) -> None:
    tag = published(guarded.engine, guarded.registry, "wrong:1")
    images = images_of(guarded_api, config=keep_login(tmp_path, guarded, "wrong-password"))
    with pytest.raises(ImageUnavailable, match="the login of 'ann' may not see it") as error:
        await images.ensure(tag, silent)
    assert error.value.cause == "login"
    assert "wrong-password" not in str(error.value)


async def test_a_login_that_comes_later_is_used_at_once(guarded: Guarded, guarded_api: Api, tmp_path: Path) -> None:
    tag = published(guarded.engine, guarded.registry, "later:1")
    images = images_of(guarded_api, config=tmp_path)
    with pytest.raises(ImageUnavailable):
        await images.ensure(tag, silent)
    keep_login(tmp_path, guarded, ACCOUNT[1])
    assert (await images.ensure(tag, silent)).reference == tag


async def test_starts_that_wait_for_the_same_image_share_its_pull(guarded: Guarded, guarded_api: Api) -> None:
    tag = published(guarded.engine, guarded.registry, "shared:1")
    images = images_of(guarded_api, config=guarded.config)
    since = (await guarded_api.get("/info"))["SystemTime"]
    starts = await asyncio.gather(*(images.ensure(tag, silent) for _ in range(5)))
    assert len({facts.id for facts in starts}) == 1
    until = (await guarded_api.get("/info"))["SystemTime"]
    events = guarded.engine.docker("events", "--since", since, "--until", until, "--filter", "event=pull")
    assert len(events.splitlines()) == 1


async def test_what_is_present_is_used_while_the_registry_is_away(guarded: Guarded, guarded_api: Api) -> None:
    tag = published(guarded.engine, guarded.registry, "away:1")
    images = images_of(guarded_api, "always", guarded.config)
    await images.ensure(tag, silent)
    guarded.registry.stop()
    try:
        assert (await images.ensure(tag, silent)).reference == tag
        guarded.engine.docker("rmi", tag)
        with pytest.raises(ImageUnavailable, match="cannot be reached"):
            await images.ensure(tag, silent)
    finally:
        guarded.registry.start()
    assert (await images.ensure(tag, silent)).reference == tag


# With a registry that does not come to an end


class Endless:
    """A registry on the machine with one image, of whose only layer it sends a little now and then."""

    size = 40_000_000_000

    def __init__(self) -> None:
        self.left = asyncio.Event()
        """Set when the engine hangs up on a layer."""
        layer = f"sha256:{os.urandom(32).hex()}"
        self._config = json.dumps(
            {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [layer]}}
        ).encode()
        self._config_digest = f"sha256:{hashlib.sha256(self._config).hexdigest()}"
        self._manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(self._config),
                    "digest": self._config_digest,
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": self.size,
                        "digest": layer,
                    }
                ],
            }
        ).encode()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/":
            return web.Response()
        if "/manifests/" in request.path:
            digest = f"sha256:{hashlib.sha256(self._manifest).hexdigest()}"
            headers = {"Content-Type": MANIFEST, "Docker-Content-Digest": digest}
            return web.Response(body=self._manifest, headers=headers)
        if request.path.endswith(self._config_digest):
            return web.Response(body=self._config)
        response = web.StreamResponse(headers={"Content-Length": str(self.size)})
        await response.prepare(request)
        try:
            while True:
                # The engine hangs up between two reads, not while it waits for one.
                await response.write(b"x" * 100_000)
                await asyncio.sleep(0.05)
        finally:
            self.left.set()


@pytest.fixture
async def endless(docker_engine: Engine) -> AsyncIterator[tuple[Endless, str]]:
    """The registry and the name of its image."""
    registry = Endless()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", registry.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, docker_engine.sandbox.host_address, 0).start()
    host, port = runner.addresses[0][:2]
    yield registry, f"{host}:{port}/endless:1"
    await runner.cleanup()


async def test_progress_is_told_while_an_image_comes(api: Api, endless: tuple[Endless, str]) -> None:
    _, name = endless
    said = asyncio.Queue[str]()
    waiting = asyncio.create_task(images_of(api).ensure(name, said.put_nowait))
    try:
        async with asyncio.timeout(DEADLINE):
            while not re.fullmatch(rf"pulling {re.escape(name)}: 0 of 1 layers, [0-9.]+ of 40000 MB", await said.get()):
                assert not waiting.done()
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_a_pull_that_nobody_waits_for_any_more_ends_on_the_engine(api: Api, endless: tuple[Endless, str]) -> None:
    registry, name = endless
    images, said = images_of(api), asyncio.Queue[str]()
    waiting = [asyncio.create_task(images.ensure(name, said.put_nowait)) for _ in range(2)]
    async with asyncio.timeout(DEADLINE):
        while "layers" not in await said.get():
            pass
        waiting[0].cancel()
        await asyncio.wait(waiting[:1])
        assert not registry.left.is_set()
        waiting[1].cancel()
        await registry.left.wait()


# With an engine whose disk is small


async def test_a_full_disk_is_told_and_leaves_the_engine_working(start_engine: StartEngine) -> None:
    engine = start_engine()
    with or_absent():
        registry = Registry(engine.sandbox)
    small = published(engine, registry, "small:1")
    big = f"{registry.host}/big:1"
    root = busybox_root()
    root.add("random", os.urandom(BIG))
    engine.docker("push", import_root(engine, big, root.packed(), ["CMD cat"]))
    engine.stop()
    engine.sandbox.run("mount", "-t", "tmpfs", "-o", SMALL_DISK, "tmpfs", f"{engine.folder}/data")
    with or_absent():
        engine.start()
    async for api in opened_api(engine):
        images = images_of(api)
        with pytest.raises(ImageUnavailable, match="the engine's disk is full; free space there") as error:
            async with asyncio.timeout(DEADLINE):
                await images.ensure(big, silent)
        assert error.value.cause == "space"
        assert await images.facts(big) is None
        assert (await images.ensure(small, silent)).reference == small
    registry.close()
