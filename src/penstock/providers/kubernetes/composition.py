"""Puts the Kubernetes provider together from settings and environment; nothing is asked of the cluster yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from penstock import __version__
from penstock.providers.clock import Clock, SystemClock
from penstock.providers.containers.following import Changes
from penstock.providers.kubernetes import marks
from penstock.providers.kubernetes.client import kinds
from penstock.providers.kubernetes.client.api import Api
from penstock.providers.kubernetes.client.connect import own_namespace
from penstock.providers.kubernetes.fleet import Fleet
from penstock.providers.kubernetes.health import Health
from penstock.providers.kubernetes.lease import LeaseObject
from penstock.providers.kubernetes.logs import Logs
from penstock.providers.kubernetes.manifests import Shape
from penstock.providers.kubernetes.mirror import Mirror
from penstock.providers.kubernetes.namespaces import Namespaces
from penstock.providers.kubernetes.pipelines import Pipelines, labels_of
from penstock.providers.kubernetes.secrets import Secrets
from penstock.providers.kubernetes.tracked import Reach, Ways
from penstock.providers.kubernetes.usage import Usages
from penstock.providers.leasing import Lease
from penstock.providers.members import Probe
from penstock.readiness import probe
from penstock.settings import ServeSettings

USUAL = "penstock"
"""Name of the installation, and the namespace of the gateway, where none is given."""
_PULL = {"always": "Always", "never": "Never", "missing": ""}
"""Clusters have their own rule for what is missing: an image whose tag is `latest`, or has none, is asked for each time."""


@dataclass(frozen=True)
class Parts:
    """What a Kubernetes provider is made of."""

    installation: str
    platform: str
    """Namespace of what belongs to the gateway."""
    clock: Clock
    api: Api
    shape: Shape
    deployments: Mirror
    services: Mirror
    pods: Mirror
    config_maps: Mirror
    function_objects: Mirror | None
    fleet: Fleet
    pipelines: Pipelines
    secrets: Secrets
    namespaces: Namespaces
    logs: Logs
    changes: Changes
    usages: Usages
    lease: Lease
    health: Health


def parts_of(
    settings: ServeSettings,
    environ: Mapping[str, str],
    clock: Clock | None = None,
    ask: Probe = probe,
    api: Api | None = None,
) -> Parts:
    """`ask` asks a port whether it is ready; `api` is that of the settings where none is given."""
    clock = clock or SystemClock()
    installation = settings.installation or USUAL
    platform = settings.kubernetes_namespace or own_namespace(environ) or USUAL
    fixed = [name.strip() for name in settings.kubernetes_namespaces.split(",") if name.strip()]
    api = api or Api(settings.kubernetes_context, environ)
    reach = cast(Reach, settings.kubernetes_reach)
    owned = marks.owner(installation)

    def mirror(kind: kinds.Kind, labels: Mapping[str, str]) -> Mirror:
        return Mirror(api, kind, labels, clock, fixed or None)

    deployments, services = mirror(kinds.DEPLOYMENT, owned), mirror(kinds.SERVICE, owned)
    pods, config_maps = mirror(kinds.POD, owned), mirror(kinds.CONFIG_MAP, labels_of(installation))
    changes = Changes()
    return Parts(
        installation=installation,
        platform=platform,
        clock=clock,
        api=api,
        shape=Shape(
            installation=installation,
            watchdog_image=settings.watchdog_image or f"penstock:{__version__}",
            pull_policy=_PULL[settings.pull],
            reach=reach,
        ),
        deployments=deployments,
        services=services,
        pods=pods,
        config_maps=config_maps,
        function_objects=mirror(kinds.FUNCTION, {}) if settings.kubernetes_functions else None,
        fleet=Fleet(deployments, services, pods, Ways(ask, clock, reach)),
        pipelines=Pipelines(api, config_maps, installation),
        secrets=Secrets(api, installation),
        namespaces=Namespaces(api, installation, fixed, clock),
        logs=Logs(api, changes, clock),
        changes=changes,
        usages=Usages(api, installation, clock),
        lease=Lease(LeaseObject(api, platform, installation, clock), clock),
        health=Health(api, (kinds.DEPLOYMENT, kinds.SERVICE, kinds.POD, kinds.CONFIG_MAP), fixed, clock),
    )
