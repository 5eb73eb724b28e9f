"""The document by which a replica's container is created: what `docker run` would be told.

Pure. Called by `starting` with an order and the plan for its image. What is allowed is listed here: no capability that
the function does not ask for, no new privileges, no namespace of the host, no device and no folder of the host.
"""

from __future__ import annotations

from typing import Any

import msgspec

from penstock.providers.containers import labels
from penstock.providers.containers.capabilities import capabilities_of
from penstock.providers.containers.entry import Record
from penstock.providers.containers.plan import Plan
from penstock.providers.containers.resources import Machine, container_limits
from penstock.providers.limits import limits_of
from penstock.providers.runtimes.base import Order
from penstock.watchdog.bundle.write import PLACE

SECRETS = "/var/openfaas/secrets"
"""Where functions look for their secrets (contract watchdog §1)."""
_HOST_NAME = 63
"""Characters, the most that fit a label of DNS."""

Document = dict[str, Any]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where containers of this provider are made."""

    installation: str
    network: str
    machine: Machine = Machine()
    publish: str | None = None
    """Address of the engine's host at which the function's port is published, "" for all of them; None publishes nothing."""


def name_of(order: Order) -> str:
    """A container's name. The token tells it from all others, so function names of namespaces cannot collide."""
    return f"penstock-{order.spec.name}-{order.token}"


def body_of(record: Record, plan: Plan, site: Site, bundle: str = "", secrets: bool = False) -> Document:
    """What to create. `bundle` is the volume with the watchdog; with `secrets` there is an empty place for them."""
    order = record.order
    port = f"{plan.port}/tcp"
    document: Document = {
        "Image": order.spec.image,
        "Env": [f"{name}={value}" for name, value in plan.environ.items()],
        "Labels": {**order.spec.labels, **_labels(record, site)},
        "ExposedPorts": {port: {}},
        "HostConfig": _host_config(order, plan, site, _mounts(bundle, secrets)),
        "NetworkingConfig": {"EndpointsConfig": {site.network: {}}},
    }
    if plan.entrypoint is not None:
        document["Entrypoint"] = list(plan.entrypoint)
        # An engine takes the image's own command only when neither is given.
        document["Cmd"] = list(plan.command or ())
    elif plan.command is not None:
        document["Cmd"] = list(plan.command)
    if plan.user:
        document["User"] = plan.user
    if plan.injected:
        # The image's own question is about its own program, which does not run.
        document["Healthcheck"] = {"Test": ["NONE"]}
    if len(order.replica) <= _HOST_NAME:
        document["Hostname"] = order.replica
    return document


def _labels(record: Record, site: Site) -> dict[str, str]:
    return {
        labels.OWNER: site.installation,
        labels.KIND: "replica",
        labels.FUNCTION: record.order.spec.key,
        labels.ORDER: msgspec.json.encode(record).decode(),
    }


def _host_config(order: Order, plan: Plan, site: Site, mounts: list[Document]) -> Document:
    limits = limits_of(order.spec)
    config: Document = {
        "NetworkMode": site.network,
        "Mounts": mounts,
        "CapDrop": ["ALL"],
        "SecurityOpt": [] if limits.new_privileges else ["no-new-privileges"],
        "RestartPolicy": {"Name": "no"},
        "LogConfig": _logging(limits.log_bytes),
        **container_limits(order.spec, site.machine),
    }
    if given := capabilities_of(order.spec):
        config["CapAdd"] = list(given)
    if order.spec.read_only_root:
        config["ReadonlyRootfs"] = True
        config["Tmpfs"] = {"/tmp": "rw,nosuid,nodev,mode=1777"}
    if site.publish is not None:
        config["PortBindings"] = {f"{plan.port}/tcp": [{"HostIp": site.publish, "HostPort": ""}]}
    return config


def _logging(log_bytes: int) -> Document:
    """Two files of half the size each: the older one stays when the newer is full."""
    return {"Type": "json-file", "Config": {"max-size": str(log_bytes // 2), "max-file": "2"}}


def _mounts(bundle: str, secrets: bool) -> list[Document]:
    mounts: list[Document] = []
    if bundle:
        mounts.append(
            {
                "Type": "volume",
                "Source": bundle,
                "Target": PLACE,
                "ReadOnly": True,
                "VolumeOptions": {"NoCopy": True},
            }
        )
    if secrets:
        # A volume without a name goes with its container, and can be filled even where the root is read-only.
        mounts.append({"Type": "volume", "Target": SECRETS, "VolumeOptions": {"NoCopy": True}})
    return mounts
