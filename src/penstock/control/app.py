"""The REST API as an ASGI application: its route table, top to bottom, and the guard in front of it.

`control.process` builds it and serves it on a unix socket, where the gateway workers send every path that is not a
function's. The metrics port has no part in it (`control.scrape`).
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp

from penstock.autoscaler.scaler import Scaler
from penstock.control.alert import Alerts
from penstock.control.auth import Guard
from penstock.control.documents import api_description, redirect_to_page, start_page
from penstock.control.feed import Feed
from penstock.control.functions import Functions
from penstock.control.functiontoken import TokenOf
from penstock.control.health import Health
from penstock.control.info import Info
from penstock.control.logs import Logs
from penstock.control.namespaces import Namespaces
from penstock.control.routing import Resource, build_router
from penstock.control.scale import Scale
from penstock.control.scaling import ScalingOf
from penstock.control.secrets import Secrets
from penstock.control.storageevents import StorageEvents
from penstock.credentials import Credentials
from penstock.providers.base import Provider


def route_table(
    provider: Provider,
    feed: Feed,
    scaler: Scaler,
    stopping: asyncio.Event,
    events: StorageEvents | None = None,
    credentials: Credentials | None = None,
) -> list[Resource]:
    """Every route of the control API (contract gateway §1.1). Without `events` object storage is off."""
    events = events or StorageEvents(feed)
    functions = Functions(provider, feed)
    scale = Scale(scaler)
    secrets = Secrets(provider)
    namespaces = Namespaces(provider)
    namespace = {"GET": namespaces.get, "POST": namespaces.create, "PUT": namespaces.update}
    namespace["DELETE"] = namespaces.delete
    return [
        Resource("/healthz", {"GET": Health(provider).get}, public=True),
        Resource("/", {"GET": redirect_to_page}, public=True),
        Resource("/ui/", {"GET": start_page}),
        Resource("/system/openapi.yaml", {"GET": api_description}),
        Resource("/system/info", {"GET": Info(provider).get}),
        Resource(
            "/system/functions",
            {
                "GET": functions.list,
                "POST": functions.deploy,
                "PUT": functions.update,
                "DELETE": functions.delete,
            },
        ),
        Resource("/system/function/{name}", {"GET": functions.describe}),
        Resource("/system/function/{name}/scaling", {"GET": ScalingOf(scaler).get}),
        Resource("/system/function/{name}/token", {"GET": TokenOf(provider, credentials).get}),
        Resource("/system/scale-function/{name}", {"POST": scale.scale}),
        Resource("/system/alert", {"POST": Alerts(scaler).notify}),
        Resource(
            "/system/secrets",
            {"GET": secrets.list, "POST": secrets.create, "PUT": secrets.update, "DELETE": secrets.delete},
        ),
        Resource("/system/namespaces", {"GET": namespaces.list}),
        Resource("/system/namespace/", namespace),
        Resource("/system/namespace/{name}", namespace),
        Resource("/system/logs", {"GET": Logs(provider, stopping).get}),
        Resource("/system/storage/events", {"POST": events.notify}, opens=events.token.accepts),
        Resource("/system/storage/events/token", {"GET": events.show_token}),
        Resource("/system/storage/deliveries", {"GET": events.deliveries}),
        Resource("/system/storage/deliveries/redrive", {"POST": events.redrive}),
    ]


def create_app(table: list[Resource], credentials: Credentials | None) -> ASGIApp:
    """The table behind its guard; `credentials` None leaves it open (`--no-auth`)."""
    public = frozenset(row.path for row in table if row.public)
    others = {row.path: row.opens for row in table if row.opens}
    return Guard(build_router(table), credentials, public, frozenset(row.path for row in table), others)
