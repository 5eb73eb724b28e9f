"""Docker providers on the shared engine, each with an installation of its own, of which nothing is left when a test is over.

Making the watchdog's bundle takes seconds: one is made for all tests and linked into every home, and its volume stays on the
engine for as long as that lives.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.model import DEFAULT_NAMESPACE, Function, FunctionSpec
from penstock.providers.containers import labels
from penstock.providers.containers.bundle import Made
from penstock.providers.local import LocalProvider
from penstock.providers.runtimes.docker import create_docker_provider
from penstock.settings import ServeSettings
from tests.engines.engine import Engine
from tests.engines.waiting import DEADLINE, wait_until
from tests.integration.providers.waiting import ready

NETWORK = "penstock-tests"
"""Shared by all tests that do not look at networks: made once, so that not every test waits for one."""
BUNDLE_AGE = 3600.0
"""Seconds after which a bundle of another version is removed."""
IMAGE = "busybox:it"
"""Of the fixture `busybox_image`."""


class Box:
    """An installation on an engine: its home, and one control process after the other."""

    def __init__(self, engine: Engine, **settings: Any) -> None:
        self.engine = engine
        self.installation = f"it-{secrets.token_hex(4)}"
        self.home = Path(tempfile.mkdtemp(prefix="pst-"))
        given = {"docker_connect": "ip", "docker_network": NETWORK, "installation": self.installation, **settings}
        self.settings = ServeSettings(home=self.home, provider="docker", **given)
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(self.home), "DOCKER_HOST": engine.url}
        (self.home / "watchdog").symlink_to(shared_bundle(), target_is_directory=True)
        if self.settings.docker_network == NETWORK:
            make_network(engine)

    def provider(self) -> LocalProvider:
        """One more control process, not started."""
        return create_docker_provider(self.settings, self.environ)

    def containers(self, state: str = "") -> list[str]:
        """Ids of this installation's containers, or of those in a state, such as `running`."""
        chosen = ["--filter", f"status={state}"] if state else []
        label = f"label={labels.OWNER}={self.installation}"
        return self.engine.docker("ps", "-aq", "--no-trunc", "--filter", label, *chosen).split()

    def inspect(self, container: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.engine.docker("inspect", container))[0]
        return document

    def container_at(self, address: str) -> str:
        """The id of the running container at a replica's address."""
        host = address.rpartition(":")[0]
        for container in self.containers("running"):
            networks = {}
            with contextlib.suppress(AssertionError):  # one before it may be removed meanwhile
                networks = self.inspect(container)["NetworkSettings"]["Networks"]
            if any(network["IPAddress"] == host for network in networks.values()):
                return container
        raise AssertionError(f"no container is at {address}")

    def close(self) -> None:
        wait_until(self._emptied, "the end of the containers of a box")
        label = f"label={labels.OWNER}={self.installation}"
        if left := self.engine.docker("network", "ls", "-q", "--filter", label).split():
            self.engine.docker("network", "rm", *left)
        (self.home / "watchdog").unlink()
        shutil.rmtree(self.home)

    def _emptied(self) -> bool:
        """Whether it has no containers any more; one that the engine is still removing for the provider is not removed twice."""
        if left := self.containers():
            with contextlib.suppress(AssertionError):
                self.engine.docker("rm", "-fv", *left)
        return not self.containers()


@asynccontextmanager
async def boxed(engine: Engine, **settings: Any) -> AsyncIterator[Box]:
    """A box, and nothing of it afterwards."""
    box = await asyncio.to_thread(functools.partial(Box, engine, **settings))
    try:
        yield box
    finally:
        await asyncio.to_thread(box.close)


@asynccontextmanager
async def running_box(engine: Engine, **settings: Any) -> AsyncIterator[tuple[LocalProvider, Box]]:
    """A box with a started provider."""
    async with boxed(engine, **settings) as box, started(box) as provider:
        yield provider, box


@asynccontextmanager
async def started(box: Box) -> AsyncIterator[LocalProvider]:
    provider = box.provider()
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


async def die(provider: LocalProvider) -> None:
    """What is left of a control process after SIGKILL: its containers run on, its connections close, its database is let go."""
    runtime: Any = provider._runtime
    tasks = [runtime._watching, *runtime._started.lives._tasks, *provider._crew.tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await runtime._engine.close()
    await provider._store.close()


@functools.cache
def shared_bundle() -> Path:
    """A folder with the bundle of this version alone, among the machine's temporary files."""
    folder = Path(tempfile.gettempdir()) / f"penstock-bundles-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return asyncio.run(_make_bundle(folder))


async def _make_bundle(folder: Path) -> Path:
    """Other test runs may be at it at the same time; what none of them has made lately is nobody's."""
    name = await Made(folder, os.environ).name()
    with (folder.with_suffix(".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in folder.iterdir():
            if old.name != name and time.time() - old.lstat().st_ctime > BUNDLE_AGE:
                shutil.rmtree(old, ignore_errors=True)
        await Made(folder / name, os.environ).directory(lambda text: None)
    return folder / name


def make_network(engine: Engine) -> None:
    if NETWORK not in engine.docker("network", "ls", "--format", "{{.Name}}").split():
        engine.docker("network", "create", NETWORK)


def spec(name: str, program: str = "cat", **fields: Any) -> FunctionSpec:
    return FunctionSpec(name=name, env_process=program, image=fields.pop("image", IMAGE), **fields)


async def deployed(provider: LocalProvider, name: str, program: str = "cat", **fields: Any) -> Function:
    """Deploy a program and wait until it is ready."""
    await provider.deploy(spec(name, program, **fields))
    return await ready(provider, name, (await provider.get(name, DEFAULT_NAMESPACE)).desired)


async def call(address: str, body: bytes = b"", path: str = "/") -> tuple[int, bytes]:
    """One POST to a replica; status and body."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), DEADLINE)
    writer.write(f"POST {path} HTTP/1.0\r\nHost: test\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    first, _, rest = answer.partition(b"\r\n")
    return int(first.split()[1]), rest.partition(b"\r\n\r\n")[2]


async def answer(function: Function, body: bytes = b"") -> str:
    """What a function's first replica answers; its status must be 200."""
    status, said = await call(function.endpoints[0], body)
    assert status == 200, (status, said)
    return said.decode()
