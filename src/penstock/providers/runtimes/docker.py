"""The docker runtime: replicas are containers of a Docker Engine, on a bridge network, one for each.

The local provider drives it. It composes the rooms of `penstock.providers.containers`; what there is is known by labels, so
that containers of a control process that was killed are found again and nothing foreign is ever touched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from penstock import __version__, readiness
from penstock.core.health import Check
from penstock.errors import InvalidInput, PenstockError, ProviderUnavailable
from penstock.model import Capabilities, FunctionSpec, LogLine, LogQuery, ProviderInfo, Usage
from penstock.providers.containers.adopting import find_all
from penstock.providers.containers.body import Site
from penstock.providers.containers.bundle import Bundle, FromImage, Source, own_source
from penstock.providers.containers.constraints import Node, check_constraints, node_of
from penstock.providers.containers.deaths import Happening, Watch
from penstock.providers.containers.engine import Engine, EngineRefused
from penstock.providers.containers.entry import Entry
from penstock.providers.containers.images import Images, PullPolicy
from penstock.providers.containers.lives import Lives
from penstock.providers.containers.logs import function_lines
from penstock.providers.containers.network import Network, publish_at, reaches
from penstock.providers.containers.own import own_container
from penstock.providers.containers.plan import check_labels
from penstock.providers.containers.resources import machine_of, sizes_of
from penstock.providers.containers.starting import Starter, Tools
from penstock.providers.containers.stats import ContainerMeter, usage_of
from penstock.providers.installation import installation_of
from penstock.providers.local import LocalProvider, Parts
from penstock.providers.members import Probe
from penstock.providers.runtimes.base import Events, Order, Running
from penstock.providers.secretfiles import SecretFiles
from penstock.providers.store import SqliteStore
from penstock.settings import ServeSettings

HEALTH_LIMIT = 5.0
"""Seconds for the engine to answer when it is asked for its health."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Started:
    """What there is once the engine has been reached."""

    lives: Lives
    starter: Starter
    network: Network
    bundle: Bundle
    node: Node
    events: Events


class DockerRuntime:
    """Replicas as containers; see `penstock.providers.runtimes.base.Runtime`. `environ` is the server's environment."""

    def __init__(self, settings: ServeSettings, environ: Mapping[str, str], installation: str) -> None:
        self.capabilities = Capabilities(runs_images=True, usage=True, sandbox="containers")
        self._settings = settings
        self._environ = environ
        self._installation = installation
        self._engine = Engine(environ)
        self._meter = ContainerMeter(self._engine)
        self._images = Images(self._engine, _policy(settings), environ)
        self._watch = Watch(self._engine, self)
        self._watching: asyncio.Task[None] | None = None
        self._started: _Started | None = None
        self._release = "unknown"

    def info(self) -> ProviderInfo:
        return ProviderInfo(provider="docker", orchestration=f"docker {self._release}", release=__version__)

    async def start(self, events: Events) -> list[Running]:
        try:
            info = await self._engine.open()
            self._release = str(info.get("ServerVersion") or self._release)
            tools = await self._tools(info)
            starter = Starter(tools)
            lives = Lives(self._engine, starter, tools.network.name, events)
            self._started = _Started(lives, starter, tools.network, tools.bundle, tools.node, events)
            running = await self._adopt()
        except EngineRefused as error:
            await self._engine.close()
            raise ProviderUnavailable(f"the Docker Engine at {self._engine.url} refuses: {error}") from error
        except ProviderUnavailable:
            await self._engine.close()
            raise
        self._watching = asyncio.create_task(self._watch.run(self._watch.connected(info)))
        self._started.bundle.prepare()
        return running

    async def close(self) -> None:
        if self._watching:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._started:
            idle = not self._started.lives.entries
            await self._started.lives.close()
            await self._started.bundle.close()
            if idle:
                await self._started.network.remove()
        await self._engine.close()

    async def health(self) -> None:
        if self._watch.problem:
            raise ProviderUnavailable(self._watch.problem)
        try:
            async with asyncio.timeout(HEALTH_LIMIT):
                await self._engine.get("/version")
        except TimeoutError as error:
            raise ProviderUnavailable(
                f"the Docker Engine at {self._engine.url} does not answer within {HEALTH_LIMIT:g} s"
            ) from error
        except EngineRefused as error:
            raise ProviderUnavailable(f"the Docker Engine at {self._engine.url} refuses: {error}") from error

    def check(self, spec: FunctionSpec) -> None:
        if not spec.image:
            raise InvalidInput(
                "image: is required, the docker provider runs containers; name the image in which the program is, "
                "or use --provider process to run programs of this machine"
            )
        check_labels(spec)
        check_constraints(spec.constraints, self._running.node)
        sizes_of(spec)

    def launch(self, order: Order) -> str:
        if self._watch.problem:
            raise ProviderUnavailable(self._watch.problem)
        return self._running.lives.launch(order)

    def check_of(self, token: str) -> Check:
        entry = self._entry(token)
        return entry.record.check if entry and entry.record else Check()

    def stop(self, token: str, kill: bool = False) -> None:
        self._running.lives.stop(token, kill)

    def rest(self, token: str) -> None:
        self._running.lives.rest(token)

    def logs(self, query: LogQuery, deployed: Callable[[], bool]) -> AsyncGenerator[LogLine, None]:
        lives = self._running.lives
        return function_lines(self._engine, query, lambda: lives.sources(query), deployed, lives.changes)

    def forget_logs(self, name: str, namespace: str, keep: Iterable[str] = ()) -> None:
        self._running.lives.forget_logs(f"{name}.{namespace}", frozenset(keep))

    def forget(self, name: str, namespace: str) -> None:
        self._running.lives.forget(f"{name}.{namespace}")

    async def usage(self, tokens: Iterable[str]) -> Usage | None:
        return await usage_of(self._engine, self._containers(tokens))

    async def usages(self, tokens: Mapping[str, Sequence[str]], starting: Set[str]) -> dict[str, Usage]:
        groups = {key: self._containers(each) for key, each in tokens.items()}
        return await self._meter.usages(groups, frozenset(self._containers(starting)))

    def _containers(self, tokens: Iterable[str]) -> list[str]:
        """Those of replicas that run, or finish their requests."""
        entries = [self._entry(token) for token in tokens]
        return [entry.container for entry in entries if entry and entry.stage == "running"]

    # What the engine tells

    async def look_again(self, info: dict[str, Any]) -> None:
        self._running.network.missing()
        await self._running.network.ensure()
        lives = self._running.lives
        asked_about = lives.running()
        lives.look_again(await find_all(self._engine, self._installation), asked_about)

    def happened(self, happening: Happening) -> None:
        self._running.lives.happened(happening)

    def back(self) -> None:
        self._running.events.available()

    # The start

    async def _tools(self, info: dict[str, Any]) -> Tools:
        own = str((await own_container(self._engine) or {}).get("Id", ""))
        network = Network(self._engine, self._installation, self._settings.docker_network, own)
        await network.ensure()
        publish, host = None, ""
        if not await self._calls_containers(network, own):
            publish, host = publish_at(self._engine.url)
        site = Site(installation=self._installation, network=network.name, machine=machine_of(info), publish=publish)
        bundle = Bundle(self._engine, self._installation, self._source())
        return Tools(self._engine, self._images, network, bundle, site, host, node_of(info))

    async def _calls_containers(self, network: Network, own: str) -> bool:
        """Whether containers are called at their own addresses, and not at ports of the engine's host."""
        if self._settings.docker_connect == "auto":
            return reaches(await network.document(), own)
        return self._settings.docker_connect == "ip"

    def _source(self) -> Source:
        if self._settings.watchdog_image:
            return FromImage(self._settings.watchdog_image, self._images)
        return own_source(self._settings.home, self._environ)

    async def _adopt(self) -> list[Running]:
        """Take over what an earlier control process left running, and remove the rest."""
        lives = self._running.lives
        found = await find_all(self._engine, self._installation)
        entries = {one.container: one.entry() for one in found}
        paused = [one.container for one in found if one.state == "paused" and entries[one.container]]
        for container in paused:
            with suppress(EngineRefused):
                await self._engine.post(f"/containers/{container}/unpause")
        usable = await asyncio.gather(*(self._usable(entry) for entry in entries.values() if entry))
        adopted = [entry for entry in usable if entry]
        for entry in adopted:
            lives.adopt(entry)
        kept = {entry.container for entry in adopted}
        gone = [container for container in entries if container not in kept]
        lives.remove(gone)
        if found:
            _log.info("found %d containers of an earlier run, %d of them go on", len(found), len(kept))
        return sorted((entry.running() for entry in adopted), key=lambda running: running.started_at)

    async def _usable(self, entry: Entry) -> Entry | None:
        try:
            await self._running.starter.read(entry)
        except ProviderUnavailable:
            raise
        except PenstockError as error:
            _log.info("replica %s is not taken over: %s", entry.order.replica, error)
            return None
        return entry

    def _entry(self, token: str) -> Entry | None:
        return self._running.lives.entries.get(token)

    @property
    def _running(self) -> _Started:
        if not self._started:
            raise ProviderUnavailable("the docker provider has not been started")
        return self._started


def create_docker_provider(
    settings: ServeSettings, environ: Mapping[str, str], probe: Probe = readiness.probe
) -> LocalProvider:
    """The docker provider of a server, not started. `environ` is the server's environment. Raises SettingsError."""
    home = settings.paths
    parts = Parts(
        store=SqliteStore(home.state_db),
        secrets=SecretFiles(home.secrets),
        runtime=DockerRuntime(settings, environ, installation_of(settings)),
        probe=probe,
    )
    return LocalProvider(parts)


def _policy(settings: ServeSettings) -> PullPolicy:
    return "always" if settings.pull == "always" else "never" if settings.pull == "never" else "missing"
