"""How the API server is reached, and as whom: a kubeconfig, or what a pod is given. Used by `api`.

The library reads both and renews credentials; it is imported here only, and late.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from penstock.errors import SettingsError

if TYPE_CHECKING:
    import httpx2

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
CONNECT_TIMEOUT = 5.0
TIMEOUT = 15.0
"""Seconds until an answer begins, or goes on. Watches wait for as long as they say."""


def connect(context: str, environ: Mapping[str, str]) -> httpx2.AsyncClient:
    """A client whose addresses are paths of the API server. `context`: one of the kubeconfig's, empty for its current one.

    Raises SettingsError with what is wrong with the configuration.
    """
    import httpx2
    from lightkube.config.client_adapter import AsyncClient, ConnectionParams, verify_cluster
    from lightkube.config.kubeconfig import KubeConfig, SingleConfig
    from lightkube.config.models import User
    from lightkube.core.exceptions import ConfigError

    for name in ("httpx2", "httpcore2"):  # which tell of every request
        logging.getLogger(name).setLevel(logging.WARNING)
    path = environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    inside = not path and not context and "KUBERNETES_SERVICE_HOST" in environ
    file = Path(path or "~/.kube/config").expanduser()
    where = SERVICE_ACCOUNT if inside else str(file)
    known: list[str] = []
    try:
        config = KubeConfig.from_service_account() if inside else KubeConfig.from_file(file)
        known = sorted(config.contexts)
        chosen = config.get(context or None)
        if chosen is None:  # only where a default is given, which is not
            raise ConfigError("there is no context")
        if chosen.user is None:
            chosen = SingleConfig(chosen.context_name, chosen.context, chosen.cluster, User(), fname=chosen.fname)
        timeout = httpx2.Timeout(TIMEOUT, connect=CONNECT_TIMEOUT)
        verified = verify_cluster(chosen.cluster, chosen.user or User(), chosen.abs_file, trust_env=False)
        transport = httpx2.AsyncHTTPTransport(
            verify=verified, limits=httpx2.Limits(max_connections=None), trust_env=False
        )
        # Each watch and each log that is followed has a connection: a limit would be one of namespaces.
        client = AsyncClient(chosen, ConnectionParams(timeout=timeout, trust_env=False, transport=cast(Any, transport)))
    except Exception as error:  # the library and what it parses with raise many kinds
        raise SettingsError(
            f"kubernetes: {where} cannot be used: {str(error).strip() or type(error).__name__}"
            + (f"; its contexts: {', '.join(known)}" if known else "; set KUBECONFIG to a kubeconfig, or run in a pod")
        ) from error
    return client


def own_namespace(environ: Mapping[str, str]) -> str:
    """The namespace of the pod that this is; empty where it is none."""
    try:
        return Path(SERVICE_ACCOUNT, "namespace").read_text().strip() if "KUBERNETES_SERVICE_HOST" in environ else ""
    except OSError:
        return ""
