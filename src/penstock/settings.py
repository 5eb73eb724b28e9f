"""Settings of `penstock serve`: grouped frozen dataclasses, read from an injected environment, all faults reported together.

Every field has its unit, default and reason beside it; `docs/reference/settings.md` is generated from this file. The
watchdog's variables are a contract of their own and live in `penstock.watchdog.settings`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from penstock.core.duration import parse_duration
from penstock.errors import InvalidInput, SettingsError
from penstock.storagesettings import StorageSettings as StorageSettings
from penstock.wiresettings import WireSettings as WireSettings  # for whoever wants all settings from one place

if TYPE_CHECKING:
    from penstock.core.policy import Policy

SECRETS_VARIABLE = "secret_mount_path"
"""Environment variable naming a directory that holds both credential files of the administrator, as in existing deployments."""

SETTINGS_VARIABLE = "PENSTOCK_SERVE_SETTINGS"
"""Holds the settings as JSON (`dump_settings`) for the processes that the supervisor starts."""

REASON_VARIABLE = "PENSTOCK_REASON_FD"
"""Names the descriptor on which control tells the supervisor why it cannot start, at most PIPE_BUF bytes."""

UNIX_PATH_MAX = 107
"""Bytes in a unix socket's address without its NUL (unix(7))."""

CHOICES = {
    "provider": ("process", "memory", "docker", "swarm", "kubernetes"),
    "pull": ("missing", "always", "never"),
    "docker_connect": ("auto", "ip", "port"),
    "kubernetes_reach": ("pods", "nodeport"),
    "log_level": ("debug", "info", "warning", "error"),
}
"""Settings that are one word of a few."""

INSTALLATION = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
"""A label's value and a part of names at once, with room for the rest of a name."""
_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_NO_NETWORKS = ("host", "none", "default")
"""Words that an engine takes for a way of connecting and not for a network."""
_HOST = re.compile(r"[a-zA-Z0-9_]([a-zA-Z0-9_.-]{0,251}[a-zA-Z0-9])?")
_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.:/@\[\]-]{0,254}")
"""What may be a reference; whether it is one is for whoever reads it to say."""


@dataclass(frozen=True)
class Home:
    """The state directory and the name of everything in it. Nothing else in the code base spells these paths."""

    path: Path

    @property
    def state_db(self) -> Path:
        return self.path / "state.db"

    @property
    def events_db(self) -> Path:
        """Events of object storage that functions are to be told of, and what was seen in buckets."""
        return self.path / "events.db"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def installation(self) -> Path:
        """The identifier of this installation on an engine that it may share with others."""
        return self.path / "installation"

    @property
    def learned(self) -> Path:
        """What the scaler has learned of functions' pauses."""
        return self.path / "learned.json"

    @property
    def builds(self) -> Path:
        """Where native builds are kept unless their maker is told another place; functions run from there."""
        return self.path / "builds"

    @property
    def auth(self) -> Path:
        return self.path / "auth"

    @property
    def user_file(self) -> Path:
        return self.auth / "basic-auth-user"

    @property
    def password_file(self) -> Path:
        return self.auth / "basic-auth-password"

    @property
    def run(self) -> Path:
        """Sockets and replica records. A home too deep for unix addresses gets a directory in /tmp named by its hash."""
        inside = self.path / "run"
        if len(os.fsencode(inside)) + 48 <= UNIX_PATH_MAX:
            return inside
        digest = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:12]
        return Path("/tmp") / f"penstock-{os.getuid()}-{digest}"

    @property
    def control_socket(self) -> Path:
        return self.run / "control.sock"

    @property
    def feed_socket(self) -> Path:
        return self.run / "feed.sock"

    @property
    def zygote_socket(self) -> Path:
        return self.run / "zygote.sock"

    @property
    def replicas(self) -> Path:
        return self.run / "replicas"


@dataclass(frozen=True)
class ServeSettings:
    """What `penstock serve` is told. Names of environment variables: `PENSTOCK_` and the field's name in capitals."""

    home: Path = field(default_factory=lambda: Path.home() / ".penstock")
    """State directory: functions, secrets, logs, credentials."""
    host: str = "127.0.0.1"
    """Address to bind; loopback unless told otherwise."""
    port: int = 8080
    """Public port: functions and REST API. 0 picks a free one."""
    metrics_port: int = 8082
    """Prometheus metrics and /healthz (contract gateway §1.0). 0 picks a free one."""
    workers: int = 1
    """Gateway worker processes on the public port."""
    provider: str = "process"
    """Where functions run: process, docker (containers of one Docker Engine), swarm (services of a Docker Swarm), kubernetes, or memory,
    which keeps them in memory and runs none: to try clients of the REST API."""
    pull: str = "missing"
    """When an image is pulled, with the providers of images: missing pulls what the engine does not have, always asks
    the registry at each start of a replica, never uses only what is there."""
    docker_connect: str = "auto"
    """How the gateway reaches containers of the docker provider: ip is the container's own address, port a port published
    on the engine's host (on loopback, unless the engine is reached over TCP). auto takes ip where it is reachable, else port."""
    docker_network: str = "penstock"
    """Network that functions' containers join, made when there is none of that name. One that you made is used as it is and
    never removed."""
    kubernetes_context: str = ""
    """Context of the kubeconfig that $KUBECONFIG names, or of ~/.kube/config. Empty: its current one; in a pod, the pod's own account."""
    kubernetes_namespace: str = ""
    """Namespace of what belongs to the gateway: its lease, and profiles. Empty: the pod's own, else penstock."""
    kubernetes_namespaces: str = ""
    """Namespaces of functions, with commas between them, where the gateway may not look at the whole cluster. Empty: each that is
    annotated openfaas: "1", and openfaas-fn."""
    kubernetes_reach: str = "pods"
    """How the gateway reaches functions: pods by their own addresses, or nodeport by a port of each node, for a gateway that has
    no route to pods."""
    kubernetes_functions: bool = False
    """Make functions of Function objects of openfaas.com/v1."""
    watchdog_image: str = ""
    """Image whose /penstock folder holds the watchdog for functions of unmodified images. Empty: the watchdog of this
    installation, so that no image is needed."""
    installation: str = ""
    """Whose containers, networks and volumes these are, for installations that share an engine: at most 32 lower-case
    letters, digits and hyphens. Empty: a random one kept in the home for docker, penstock for swarm."""
    peers: str = ""
    """Host name with the addresses of all gateways of the installation, such as tasks.gateway in a Swarm, so that the one that
    scales functions asks the others for their load, at `metrics_port`. Empty: there is one gateway."""
    autoscaling: bool = True
    """Let replicas follow load, and functions rest that ask for it. Without it only alerts, people and calls for functions at
    rest change them."""
    prometheus_url: str = ""
    """Address of a Prometheus, such as http://127.0.0.1:9090, for functions that are scaled by an expression of their own or by a
    series that it records. Empty: the load of such functions is unknown, and their replicas stay as they are."""
    no_auth: bool = False
    """Leave the REST API open; refused unless `host` is loopback."""
    examples: bool = False
    """Deploy the bundled examples at start. They are programs of this machine: providers of images leave them out."""
    upstream_timeout: float = 60.0
    """Longest invocation in seconds for functions that do not say otherwise; 0 means no limit."""
    queue_timeout: float = 30.0
    """Longest wait in seconds for a ready replica or a free slot; then 503 or 429."""
    log_level: str = "info"
    """debug, info, warning or error."""
    wire: WireSettings = field(default_factory=WireSettings)
    storage: StorageSettings = field(default_factory=StorageSettings)

    @property
    def paths(self) -> Home:
        return Home(self.home)

    @property
    def runs_images(self) -> bool:
        """Whether functions are containers, and nothing of this machine can be one without an image."""
        return self.provider in ("docker", "swarm", "kubernetes")

    @property
    def default_policy(self) -> Policy:
        from penstock.core.policy import Policy  # with msgspec, which only the gateway's side of settings needs

        return Policy(timeout=self.upstream_timeout, queue_timeout=self.queue_timeout)


def load_serve_settings(environ: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> ServeSettings:
    """Settings from `PENSTOCK_*` variables, then `overrides` (flags that were given). Raises SettingsError naming every fault."""
    faults: list[str] = []
    wire = WireSettings(**_read(WireSettings, environ, "PENSTOCK_WIRE_", faults))
    storage = load_storage_settings(environ, faults)
    values = _read(ServeSettings, environ, "PENSTOCK_", faults)
    values.update({name: value for name, value in (overrides or {}).items() if value is not None})
    settings = ServeSettings(**values, wire=wire, storage=storage)
    faults += _contradictions(settings)
    if faults:
        raise SettingsError("settings cannot be used:\n" + "\n".join(f"  - {fault}" for fault in faults))
    return dataclasses.replace(settings, home=settings.home.expanduser().absolute())


def dump_settings(settings: ServeSettings) -> str:
    """Settings as JSON, for the processes that the supervisor starts (`SETTINGS_VARIABLE`)."""
    return json.dumps(dataclasses.asdict(settings), default=os.fspath)


def restore_settings(text: str) -> ServeSettings:
    """The settings that `dump_settings` wrote."""
    values = json.loads(text)
    wire = WireSettings(**values.pop("wire"))
    storage = StorageSettings(**values.pop("storage"))
    return ServeSettings(**{**values, "home": Path(values["home"])}, wire=wire, storage=storage)


def _contradictions(settings: ServeSettings) -> list[str]:
    faults = []
    for name in ("port", "metrics_port"):
        if not 0 <= getattr(settings, name) <= 65535:
            faults.append(f"{name}: {getattr(settings, name)} is not a port (0 to 65535)")
    if settings.workers < 1:
        faults.append(f"workers: {settings.workers} must be 1 or more")
    for name, choices in CHOICES.items():
        if getattr(settings, name) not in choices:
            known = f"{', '.join(choices[:-1])} or {choices[-1]}"
            faults.append(f"{name}: {getattr(settings, name)!r} is unknown, use {known}")
    if settings.peers and settings.metrics_port == 0:
        faults.append("peers: needs a metrics_port that is the same for all gateways, not 0")
    faults += _unusable_names(settings)
    if settings.prometheus_url and not _is_http(settings.prometheus_url):
        faults.append(
            "prometheus_url: must be an address such as http://127.0.0.1:9090, with http or https and without ? or #"
        )
    if settings.no_auth and settings.host not in ("127.0.0.1", "::1", "localhost"):
        faults.append(f"no_auth: refused on {settings.host}, it is allowed on loopback only")
    return faults


def load_storage_settings(environ: Mapping[str, str], faults: list[str]) -> StorageSettings:
    """The settings of `PENSTOCK_S3_*` variables; what is wrong with them is added to `faults`."""
    settings = StorageSettings(**_read(StorageSettings, environ, "PENSTOCK_S3_", faults))
    faults += [f"PENSTOCK_S3_{fault}" for fault in settings.faults()]
    return settings


def _is_http(text: str) -> bool:
    """Its text is not told in faults: it may hold a password."""
    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return False
    return bool(whole) and text.isascii() and text.isprintable() and not set(text) & set("?# ")


def _unusable_names(settings: ServeSettings) -> list[str]:
    """Names of things on an engine that it would refuse, or take for something else."""
    faults = []
    network, image, installation = settings.docker_network, settings.watchdog_image, settings.installation
    if not _NETWORK.fullmatch(network) or network in _NO_NETWORKS:
        faults.append(
            f"docker_network: {network!r} is no name of a network: letters, digits, '_', '.' and '-', at most 63"
        )
    if image and not _IMAGE.fullmatch(image):
        faults.append(
            f"watchdog_image: {image!r} is no reference of an image, such as registry.example:5000/penstock:1.0"
        )
    if settings.peers and not _HOST.fullmatch(settings.peers):
        faults.append(f"peers: {settings.peers!r} is no host name, such as tasks.gateway (the port is metrics_port)")
    for name in ("kubernetes_namespace", "kubernetes_namespaces"):
        given = getattr(settings, name).split(",") if getattr(settings, name) else ()
        faults += [
            f"{name}: {one!r} is no name of a namespace: lower-case letters, digits and inner hyphens, at most 63"
            for one in given
            if not _NAMESPACE.fullmatch(one.strip())
        ]
    if installation and not INSTALLATION.fullmatch(installation):
        faults.append(
            f"installation: {installation!r} cannot be a label: lower-case letters, digits and inner hyphens, at most 32"
        )
    return faults


def _read(group: type[Any], environ: Mapping[str, str], prefix: str, faults: list[str]) -> dict[str, Any]:
    """Values of the fields that the environment mentions, each parsed by its type; faults are collected."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(group):
        variable = prefix + item.name.upper()
        text = environ.get(variable, "")
        if not text or item.name in ("wire", "storage"):
            continue
        try:
            values[item.name] = _parse(str(item.type), text)
        except (ValueError, InvalidInput) as error:
            faults.append(f"{variable}: {error}")
    return values


def _parse(kind: str, text: str) -> Any:
    if kind == "int":
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{text!r} is not a whole number, 0 or more")
        return int(text)
    if kind == "float":
        seconds = parse_duration(text)
        if seconds < 0:
            raise ValueError(f"{text!r} is negative")
        return seconds
    if kind == "bool":
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"{text!r} is not true or false")
        return text.lower() in ("true", "1")
    return Path(text) if kind == "Path" else text
