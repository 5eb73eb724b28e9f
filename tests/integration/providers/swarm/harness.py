"""Swarm providers on a Swarm that tests share, each with an installation of its own, of which nothing is left when a test is over.

The network of the default namespace and the volume with the watchdog are made once for each engine and used by all.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from penstock.model import DEFAULT_NAMESPACE, Function, FunctionSpec
from penstock.providers.containers import labels
from penstock.providers.containers.bundle import Made
from penstock.providers.swarm.provider import SwarmProvider, create_swarm_provider
from penstock.settings import ServeSettings
from tests.engines.engine import Engine
from tests.engines.waiting import wait_until
from tests.integration.providers.waiting import ready

NETWORK = "penstock-tests"
IMAGE = "busybox:it"
"""What `import_busybox` makes."""
KEPT = 3
"""Watchdogs of earlier source trees that stay, since other test processes may be using them."""
SERVER = "mkdir -p /tmp/w/_; echo fine > /tmp/w/_/ready; exec httpd -f -p 8080 -h /tmp/w"
"""A program of that image that serves HTTP by itself."""


class Installation:
    """One installation on a Swarm: its home, and one control process after the other."""

    def __init__(self, engine: Engine, **settings: Any) -> None:
        bundles = watchdog().parent
        self.engine = engine
        self.name = f"it-{secrets.token_hex(4)}"
        self.home = Path(tempfile.mkdtemp(prefix="psw-"))
        given = {"docker_connect": "port", "docker_network": NETWORK, "installation": self.name, **settings}
        self.settings = ServeSettings(home=self.home, provider="swarm", **given)
        self.environ = {"PATH": os.environ["PATH"], "HOME": str(self.home), "DOCKER_HOST": engine.url}
        (self.home / "watchdog").symlink_to(bundles, target_is_directory=True)
        with contextlib.suppress(AssertionError):
            engine.docker("network", "create", "--driver", "overlay", "--attachable", NETWORK)

    def provider(self) -> SwarmProvider:
        """One more control process, not started."""
        return create_swarm_provider(self.settings, self.environ)

    def of(self, kind: str) -> list[str]:
        """Names of this installation's services, secrets, configs, networks."""
        label = f"label={labels.OWNER}={self.name}"
        return self.engine.docker(kind, "ls", "--format", "{{.Name}}", "--filter", label).split()

    def purge(self) -> None:
        for kind in ("service", "secret", "config"):
            wait_until(functools.partial(self._removed, kind), f"the end of every {kind}")
        for name in self.of("network"):
            # Tasks that are ending still use it; networks that stay end with the engine.
            with contextlib.suppress(AssertionError):
                self.engine.docker("network", "rm", name)
        (self.home / "watchdog").unlink()
        shutil.rmtree(self.home)

    def _removed(self, kind: str) -> bool:
        """Whether nothing is left. What a provider asked for before it was closed may go, or come, meanwhile."""
        if names := self.of(kind):
            with contextlib.suppress(AssertionError):
                self.engine.docker(kind, "rm", *names)
        return not names


@functools.cache
def watchdog() -> Path:
    """The watchdog of this source tree, alone in a folder of its own. Test processes that want one at the same time make it
    once."""
    folder = Path(tempfile.gettempdir()) / f"penstock-swarm-bundles-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        name = asyncio.run(Made(folder, os.environ).name())
        found = asyncio.run(Made(folder / name, os.environ).directory(lambda text: None))
        made = sorted((path for path in folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_ctime)
        for old in made[:-KEPT]:
            if old != found.parent:
                shutil.rmtree(old, ignore_errors=True)
    return found


@asynccontextmanager
async def installed(engine: Engine, **settings: Any) -> AsyncIterator[Installation]:
    installation = await asyncio.to_thread(lambda: Installation(engine, **settings))
    try:
        yield installation
    finally:
        await asyncio.to_thread(installation.purge)


@asynccontextmanager
async def started(installation: Installation) -> AsyncIterator[SwarmProvider]:
    provider = installation.provider()
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


@asynccontextmanager
async def running(engine: Engine, **settings: Any) -> AsyncIterator[tuple[SwarmProvider, Installation]]:
    """An installation with a started provider."""
    async with installed(engine, **settings) as installation, started(installation) as provider:
        yield provider, installation


def program(name: str, run: str = "cat", **fields: Any) -> FunctionSpec:
    """A program under the injected watchdog."""
    return FunctionSpec(name=name, env_process=run, image=fields.pop("image", IMAGE), **fields)


async def deployed(provider: SwarmProvider, spec: FunctionSpec) -> Function:
    await provider.deploy(spec)
    return await ready(provider, spec.name)


async def call(address: str, body: bytes = b"", path: str = "/", method: str = "POST") -> tuple[int, bytes]:
    """One request to a replica; status and body."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"{method} {path} HTTP/1.1\r\nHost: it\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await reader.read()
    writer.close()
    first, _, rest = answer.partition(b"\r\n\r\n")
    return int(first.split(b" ", 2)[1]), rest


@asynccontextmanager
async def calls_that_never_fail(provider: SwarmProvider, name: str) -> AsyncIterator[None]:
    """Meanwhile call whatever is in the routes, as a gateway would, and fail when one call does."""
    failed: list[str] = []
    calling = asyncio.create_task(_keep_calling(provider, name, failed))
    try:
        yield
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    assert failed == []


async def _keep_calling(provider: SwarmProvider, name: str, failed: list[str]) -> None:
    while True:
        for endpoint in (await provider.get(name, DEFAULT_NAMESPACE)).endpoints:
            try:
                status, _ = await call(endpoint, path="/_/ready", method="GET")
            except (OSError, IndexError) as error:
                failed.append(f"{endpoint}: {error!r}")
            else:
                if status != 200:
                    failed.append(f"{endpoint}: {status}")
        await asyncio.sleep(0.01)
