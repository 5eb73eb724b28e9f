"""Puts the Swarm provider together from settings and environment; nothing is asked of the engine yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from penstock.providers.clock import Clock, SystemClock
from penstock.providers.containers.bundle import Bundle, own_source
from penstock.providers.containers.engine import Document, Engine
from penstock.providers.containers.images import Images, PullPolicy
from penstock.providers.containers.logs import last_words
from penstock.providers.leasing import Lease
from penstock.providers.members import Probe
from penstock.providers.swarm.authority import Authority
from penstock.providers.swarm.cluster import Cluster
from penstock.providers.swarm.fleet import Fleet
from penstock.providers.swarm.lease import LeaseConfig
from penstock.providers.swarm.names import USUAL
from penstock.providers.swarm.namespaces import Namespaces
from penstock.providers.swarm.networks import Networks
from penstock.providers.swarm.pipelines import Pipelines
from penstock.providers.swarm.preparing import Preparer
from penstock.providers.swarm.secrets import Secrets
from penstock.providers.swarm.spread import Spread, Supply
from penstock.providers.swarm.surroundings import Surroundings
from penstock.providers.swarm.tracked import Ways
from penstock.readiness import probe
from penstock.settings import ServeSettings


@dataclass(frozen=True)
class Parts:
    """What a Swarm provider is made of."""

    installation: str
    clock: Clock
    engine: Engine
    surroundings: Surroundings
    cluster: Cluster
    authority: Authority
    secrets: Secrets
    namespaces: Namespaces
    networks: Networks
    spread: Spread
    preparer: Preparer
    fleet: Fleet
    pipelines: Pipelines
    lease: Lease


def parts_of(
    engine: Engine, settings: ServeSettings, environ: Mapping[str, str], clock: Clock | None = None, ask: Probe = probe
) -> Parts:
    """`ask` asks a port whether it is ready."""
    clock = clock or SystemClock()
    installation = settings.installation or USUAL
    surroundings = Surroundings(settings.docker_connect, settings.watchdog_image)
    cluster = Cluster(engine, installation, clock)
    authority = Authority(engine, cluster, installation, clock)
    secrets = Secrets(engine, installation)
    networks = Networks(engine, installation, settings.docker_network, surroundings)
    images = Images(engine, cast(PullPolicy, settings.pull), environ)
    bundle = Bundle(engine, installation, own_source(settings.home, environ))
    spread = Spread(engine, installation, Supply(surroundings, bundle), images, clock, lambda: cluster.nodes)
    preparer = Preparer(authority, images, spread, networks, secrets)

    async def words(task: Document) -> str:
        return await last_words(engine, f"/tasks/{task['ID']}/logs")

    return Parts(
        installation=installation,
        clock=clock,
        engine=engine,
        surroundings=surroundings,
        cluster=cluster,
        authority=authority,
        secrets=secrets,
        namespaces=Namespaces(engine, installation),
        networks=networks,
        spread=spread,
        preparer=preparer,
        fleet=Fleet(cluster, authority, preparer, Ways(ask, clock, surroundings, engine), words),
        pipelines=Pipelines(engine, cluster, installation, clock),
        lease=Lease(LeaseConfig(engine, installation, clock), clock),
    )
