"""Runs the program that a kubeconfig names for credentials (`users[].user.exec`), and reads what it says. Used by `credentials`.

Source: "client-go credential plugins" of Kubernetes' documentation. What differs: it has a deadline, as nobody sits before a gateway who
would end it; it never has a terminal; a client certificate without a token cannot be used, as connections are made before it is known.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from penstock.core.shown import shown
from penstock.errors import SettingsError
from penstock.providers.kubernetes.client.errors import CredentialsUnavailable
from penstock.providers.kubernetes.client.kubeconfig import Chosen, Cluster

DEADLINE = 30.0
"""Seconds for the program; those of clouds ask a server, and start within two or three. kubectl waits without end."""
MOST = 1 << 20
"""Bytes of its answer; a token has a few thousand."""
_GROUP = "client.authentication.k8s.io"
_VERSIONS = tuple(f"{_GROUP}/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
_EXTENSION = f"{_GROUP}/exec"
"""Name of the cluster's extension that is the program's configuration."""
_LAST_WORDS = 1000
_GOODBYE = 1.0

_log = logging.getLogger(__name__)


class Token(NamedTuple):
    """`expires` None: when the API server says so."""

    text: str
    expires: datetime | None


class ExecPlugin:
    """One program with its arguments. Raises SettingsError for what can never work."""

    def __init__(self, chosen: Chosen, environ: Mapping[str, str], deadline: float = DEADLINE) -> None:
        found = chosen.user.exec
        if not found or not found.command:
            raise SettingsError(f"kubernetes: exec of {chosen.user_named} names no command")
        if found.api_version not in _VERSIONS:
            raise SettingsError(
                f"kubernetes: exec of {chosen.user_named} has the apiVersion {found.api_version!r}; "
                f"known are {', '.join(_VERSIONS)}"
            )
        if found.interactive_mode == "Always":
            raise SettingsError(
                f"kubernetes: exec of {chosen.user_named} wants a terminal (interactiveMode: Always), which a gateway has not"
            )
        self._exec, self._folder, self._deadline = found, chosen.user_folder, deadline
        self._environ = {**environ, **{variable.name: variable.value for variable in found.env or ()}}
        self._environ["KUBERNETES_EXEC_INFO"] = msgspec.json.encode(_info(chosen)).decode()
        self._line = " ".join([found.command, *(found.args or ())])
        self._named = f"the credential plugin {shown(self._line)[:200]!r} of {chosen.user_named}"

    async def token(self) -> Token:
        """Run it. Raises CredentialsUnavailable with what is wrong, in its own words where it has any."""
        program = self._program()
        process = await self._started(program)
        try:
            async with asyncio.timeout(self._deadline):
                said, words = await _output(process)
        except TimeoutError as error:
            await _end(process)
            raise self._trouble(f"did not end within {self._deadline:g} s") from error
        except asyncio.CancelledError:
            await _end(process)
            raise
        if words:
            _log.info("%s says: %s", self._named, words)
        if process.returncode:
            raise self._trouble(f"failed with exit code {process.returncode}: {words or 'it says nothing'}")
        return self._read(said, words)

    async def _started(self, program: str) -> asyncio.subprocess.Process:
        """Begun to its end, since the half of a start leaves a program that nobody knows."""
        starting = asyncio.create_task(
            asyncio.create_subprocess_exec(  # noqa: TID251 - it works for seconds; how fast it is spawned is all the same
                program,
                *(self._exec.args or ()),
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            await _end(await starting)
            raise
        except (OSError, ValueError) as error:
            raise self._trouble(f"cannot be started: {getattr(error, 'strerror', None) or error}") from error

    def _program(self) -> str:
        command = self._exec.command
        if os.sep in command:
            path = self._folder / command
            program = str(path) if path.is_file() and os.access(path, os.X_OK) else None
        else:
            program = shutil.which(command, path=self._environ.get("PATH"))
        if program is None:
            hint = f"; {shown(self._exec.install_hint).strip()}" if self._exec.install_hint else ""
            raise self._trouble(f"is not there, or is no program{hint}")
        return program

    def _read(self, said: bytes, words: str) -> Token:
        if len(said) > MOST:
            raise self._trouble(f"says more than {MOST >> 20} MiB")
        try:
            document = msgspec.json.decode(said)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # What it says is not shown: part of it may be a credential.
            raise self._trouble(f"says what is no JSON ({len(said)} bytes){f': {words}' if words else ''}") from error
        if not isinstance(document, dict) or document.get("kind") != "ExecCredential":
            raise self._trouble("says what is no ExecCredential")
        if document.get("apiVersion") != self._exec.api_version:
            raise self._trouble(
                f"speaks {shown(str(document.get('apiVersion')))[:100]}, the kubeconfig wants {self._exec.api_version}"
            )
        status = document.get("status")
        if not isinstance(status, dict):
            raise self._trouble("gives no status, in which a token would be")
        text = status.get("token")
        if not isinstance(text, str) or not text.strip():
            certificate = (
                ", only a client certificate, which is not supported" if status.get("clientCertificateData") else ""
            )
            raise self._trouble(f"gives no token{certificate}")
        if not is_token(text.strip()):
            raise self._trouble("gives a token with characters that no header may have")
        return Token(text.strip(), self._expiry(status.get("expirationTimestamp")))

    def _expiry(self, text: Any) -> datetime | None:
        if text is None:
            return None
        try:
            moment = datetime.fromisoformat(text)
        except (TypeError, ValueError) as error:
            raise self._trouble(f"gives an expirationTimestamp that is no time: {shown(str(text))[:100]!r}") from error
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

    def _trouble(self, what: str) -> CredentialsUnavailable:
        return CredentialsUnavailable(f"{self._named} {what}")


def is_token(text: str) -> bool:
    """Whether a header may have it."""
    return bool(text) and text.isascii() and text.isprintable()


async def _output(process: asyncio.subprocess.Process) -> tuple[bytes, str]:
    """All that it says, as far as anybody reads it, and its last words on stderr."""
    if not process.stdout or not process.stderr:
        raise RuntimeError("a program was started without pipes")
    said, words = await asyncio.gather(_first(process.stdout), _last(process.stderr))
    await process.wait()
    return said, shown(words.decode("utf-8", "replace")).strip()


async def _first(pipe: asyncio.StreamReader) -> bytes:
    kept = b""
    while piece := await pipe.read(1 << 16):
        kept += piece[: MOST + 1 - len(kept)]
    return kept


async def _last(pipe: asyncio.StreamReader) -> bytes:
    kept = b""
    while piece := await pipe.read(1 << 16):
        kept = (kept + piece)[-_LAST_WORDS:]
    return kept


async def _end(process: asyncio.subprocess.Process) -> None:
    """With whatever it has started: plugins are often scripts around another program."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(
        TimeoutError
    ):  # of a child that left the group and has its pipes still, the loop would wait for the end
        async with asyncio.timeout(_GOODBYE):
            await process.communicate()


def _info(chosen: Chosen) -> dict[str, Any]:
    """What the program is told in KUBERNETES_EXEC_INFO."""
    found = chosen.user.exec
    spec: dict[str, Any] = {"interactive": False}
    if found and found.provide_cluster_info:
        spec["cluster"] = _cluster_info(chosen.cluster, chosen.cluster_folder, chosen.cluster_named)
    return {"apiVersion": found.api_version if found else "", "kind": "ExecCredential", "spec": spec}


def _cluster_info(cluster: Cluster, folder: Path, named: str) -> dict[str, Any]:
    data = cluster.certificate_authority_data
    if not data and cluster.certificate_authority:
        try:
            data = base64.b64encode((folder / cluster.certificate_authority).read_bytes()).decode()
        except OSError as error:
            raise SettingsError(
                f"kubernetes: certificate-authority of {named} cannot be read: {error.filename}: {error.strerror}"
            ) from error
    extensions = {str(item.get("name")): item.get("extension") for item in cluster.extensions or ()}
    told = {
        "server": cluster.server,
        "tls-server-name": cluster.tls_server_name,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "certificate-authority-data": data,
        "proxy-url": cluster.proxy_url,
        "disable-compression": cluster.disable_compression,
        "config": extensions.get(_EXTENSION),
    }
    return {name: value for name, value in told.items() if value}
