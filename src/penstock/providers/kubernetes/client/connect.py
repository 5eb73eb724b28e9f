"""How the API server is reached, and as whom: by a kubeconfig, or by what a pod is given. Used by `api`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import httpx2

from penstock.errors import SettingsError
from penstock.providers.clock import Clock, SystemClock
from penstock.providers.kubernetes.client.credentials import ExecToken, credentials, impersonation
from penstock.providers.kubernetes.client.kubeconfig import Chosen, Cluster, User, choose, files_of
from penstock.providers.kubernetes.client.tls import client_pair, expiry, tls

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
CONNECT_TIMEOUT = 5.0
TIMEOUT = 15.0
"""Seconds until an answer begins, or goes on. Watches wait for as long as they say."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

_log = logging.getLogger(__name__)


class Connection(NamedTuple):
    """A client whose addresses are paths of the API server. `user` is for people; `expires`: its certificate, if it has one."""

    client: httpx2.AsyncClient
    user: str
    expires: datetime | None
    clock: Clock
    program: ExecToken | None

    async def close(self) -> None:
        if self.program:
            await self.program.close()
        await self.client.aclose()

    @property
    def who(self) -> str:
        """Whom the API server is to know, and what is wrong with them as far as we see."""
        over = self.expires and self.expires <= self.clock.now()
        return f"{self.user}{f', whose client certificate is over since {self.expires:%Y-%m-%d %H:%M} UTC' if over else ''}"


def connect(
    context: str, environ: Mapping[str, str], clock: Clock | None = None, account: str = SERVICE_ACCOUNT
) -> Connection:
    """`context`: one of the kubeconfig's, empty for its current one. `account`: the folder that a pod is given.

    Raises SettingsError with what is wrong with the configuration, and where.
    """
    clock = clock or SystemClock()
    for name in ("httpx2", "httpcore2"):  # which tell of every request
        logging.getLogger(name).setLevel(logging.WARNING)
    inside = not environ.get("KUBECONFIG") and not context and "KUBERNETES_SERVICE_HOST" in environ
    chosen = _of_pod(environ, Path(account)) if inside else choose(files_of(environ), context)
    address = _address(chosen)
    pair = client_pair(chosen)
    expires = expiry(pair[0], chosen.user_named) if pair else None
    if expires and expires <= clock.now():
        raise SettingsError(
            f"kubernetes: client-certificate of {chosen.user_named} is over since {expires:%Y-%m-%d %H:%M} UTC; get a new one"
        )
    auth = credentials(chosen, environ, clock)
    if address.scheme == "http" and (auth or pair) and address.host not in _LOOPBACK:
        _log.warning("%s is spoken to without TLS: whoever is in between sees its credentials", chosen.cluster_named)
    client = httpx2.AsyncClient(
        base_url=address,
        auth=auth,
        headers=impersonation(chosen),
        timeout=httpx2.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT),
        transport=_transport(chosen),
        trust_env=False,
    )
    if server_name := chosen.cluster.tls_server_name:
        client.event_hooks["request"].append(_Named(server_name))
    return Connection(client, chosen.user_named, expires, clock, auth if isinstance(auth, ExecToken) else None)


class _Named:
    """Says in each request for whom the server's certificate is to be."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def __call__(self, request: httpx2.Request) -> None:
        request.extensions["sni_hostname"] = self._name


def _of_pod(environ: Mapping[str, str], account: Path) -> Chosen:
    """What a pod is given (Kubernetes' documentation, "Accessing the Kubernetes API from a Pod")."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    named = f"the service account in {account}"
    return Chosen(
        cluster=Cluster(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            certificate_authority=str(account / "ca.crt"),
        ),
        user=User(token_file=str(account / "token")),
        cluster_named=named,
        user_named=named,
    )


def _address(chosen: Chosen) -> httpx2.URL:
    server = chosen.cluster.server
    try:
        address = httpx2.URL(server)
    except (httpx2.InvalidURL, ValueError) as error:
        raise SettingsError(
            f"kubernetes: server of {chosen.cluster_named} is no address: {server!r}: {error}"
        ) from error
    if address.scheme not in ("http", "https") or not address.host:
        raise SettingsError(
            f"kubernetes: server of {chosen.cluster_named} must be https://HOST:PORT or http://HOST:PORT, not {server!r}"
        )
    return address


def _transport(chosen: Chosen) -> httpx2.AsyncHTTPTransport:
    proxy = chosen.cluster.proxy_url
    try:
        return httpx2.AsyncHTTPTransport(
            verify=tls(chosen),
            # Each watch and each log that is followed has a connection: a limit would be one of namespaces.
            limits=httpx2.Limits(max_connections=None),
            trust_env=False,
            proxy=proxy or None,
        )
    except (httpx2.InvalidURL, ValueError, ImportError) as error:
        raise SettingsError(f"kubernetes: proxy-url of {chosen.cluster_named} cannot be used: {error}") from error


def own_namespace(environ: Mapping[str, str]) -> str:
    """The namespace of the pod that this is; empty where it is none."""
    try:
        return Path(SERVICE_ACCOUNT, "namespace").read_text().strip() if "KUBERNETES_SERVICE_HOST" in environ else ""
    except OSError:
        return ""
