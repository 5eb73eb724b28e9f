"""The Docker Engine's API: the one place that speaks to it, through aiodocker.

Everything else of the container providers calls `Engine`, which takes paths and documents of the Engine API (v1.40 and later)
and turns what goes wrong into two errors: `ProviderUnavailable` when there is no answer, `EngineRefused` when it says no.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp

from penstock.errors import PenstockError, ProviderUnavailable

OLDEST = (1, 40)
NEWEST = (1, 47)
"""Versions of the API that we know; the engine's own is used where it lies between them. 1.40 is of Docker 19.03."""
CALL_TIMEOUT = 60.0
"""Seconds for an answer that is not a stream. An engine answers in milliseconds, but may wait for its disk."""
UPLOAD_TIMEOUT = 600.0
"""Seconds for an archive that is sent in pieces, which may be large."""
DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_NO_CONNECTION = 900
"""The status that aiodocker makes up when nobody answers."""

Document = dict[str, Any]


class EngineRefused(PenstockError):
    """The engine answered, with an error. `code` is its HTTP status: 404 not there, 409 conflict, 500 its own trouble."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Engine:
    """A Docker Engine. `environ` is the server's environment: `DOCKER_HOST` and `DOCKER_CONTEXT` say where the engine is."""

    def __init__(self, environ: Mapping[str, str], timeout: float = CALL_TIMEOUT) -> None:
        self._environ = environ
        self._timeout = timeout
        self._client: aiodocker.Docker | None = None
        self._version = ""
        self.url = environ.get("DOCKER_HOST", "")

    async def open(self) -> Document:
        """Connect, agree on a version and return what the engine says of itself (`GET /info`). Raises ProviderUnavailable."""
        if not self._client:
            self._client = self._new_client("auto")
        try:
            version = await self._agree(self._client)
            if version != self._version:
                await self._client.close()
                self._version = version
                self._client = self._new_client(f"v{version}")
            info: Document = await self.get("/info")
        except EngineRefused as error:
            raise ProviderUnavailable(f"the Docker Engine at {self.url} refuses: {error}") from error
        return info

    async def close(self) -> None:
        if self._client:
            client, self._client = self._client, None
            await client.close()

    async def get(self, path: str, **params: Any) -> Any:
        """The document at a path such as `/containers/json`; parameters that are no texts are sent as JSON. Raises
        EngineRefused, ProviderUnavailable; so do the other verbs."""
        return await self._call("GET", path, None, params)

    async def post(self, path: str, body: Document | None = None, *, auth: str = "", **params: Any) -> Any:
        """`auth` is the value of X-Registry-Auth."""
        return await self._call("POST", path, body, params, {"X-Registry-Auth": auth} if auth else {})

    async def delete(self, path: str, **params: Any) -> Any:
        return await self._call("DELETE", path, None, params)

    async def put_archive(self, container: str, folder: str, archive: bytes | AsyncIterator[bytes]) -> None:
        """Unpack a tar archive into a folder of a container, which need not run (`PUT /containers/ID/archive`)."""
        headers = {"Content-Type": "application/x-tar"}
        limit = self._timeout if isinstance(archive, bytes) else UPLOAD_TIMEOUT
        async with (
            self._asking("/containers/ID/archive", limit),
            asyncio.timeout(limit),
            self._opened()._query(
                f"containers/{container}/archive", "PUT", params={"path": folder}, data=archive, headers=headers
            ) as response,
        ):
            await response.read()

    async def stream(
        self, path: str, /, method: str = "GET", *, auth: str = "", **params: Any
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of an answer as they arrive, on a connection of its own, until it ends or the caller closes it."""
        headers = {"X-Registry-Auth": auth} if auth else {}
        client = self._new_client(f"v{self._version}" if self._version else "auto")
        try:
            async with (
                self._asking(path),
                client._query(path.lstrip("/"), method, params=_parameters(params), headers=headers) as response,
            ):
                try:
                    while chunk := await response.content.readany():
                        yield chunk
                finally:
                    # What is left of an endless answer is not read to its end.
                    response.close()
        finally:
            await client.close()

    async def documents(
        self, path: str, method: str = "GET", *, auth: str = "", **params: Any
    ) -> AsyncGenerator[Document, None]:
        """The documents of an answer that goes on, one in each line: events, the progress of a pull."""
        rest = b""
        stream = self.stream(path, method, auth=auth, **params)
        try:
            async for chunk in stream:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield self._document(line, path)
            if rest.strip():
                yield self._document(rest, path)
        finally:
            await stream.aclose()

    def _document(self, line: bytes, path: str) -> Document:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ProviderUnavailable(
                f"the Docker Engine at {self.url} answers {path} with something that is no document: {line[:80]!r}"
            )
        return document

    # Connections

    def _opened(self) -> aiodocker.Docker:
        if not self._client:
            raise ProviderUnavailable(f"the Docker Engine at {self.url or DEFAULT_SOCKET} is not connected")
        return self._client

    def _new_client(self, api_version: str) -> aiodocker.Docker:
        try:
            if not self.url and not self._environ.get("DOCKER_CONTEXT"):
                client = aiodocker.Docker(url=_usual_socket(), api_version=api_version)
            else:
                client = aiodocker.Docker(
                    url=self.url or None, context=self._environ.get("DOCKER_CONTEXT"), api_version=api_version
                )
        except (ValueError, AssertionError, OSError, aiodocker.DockerError) as error:
            raise ProviderUnavailable(
                f"no Docker Engine can be reached at {self.url or 'its usual socket'}: {str(error) or 'nothing is there'}; "
                "set DOCKER_HOST, such as unix:///var/run/docker.sock or tcp://host:2376"
            ) from error
        self.url = self.url or client._connection_info
        return client

    async def _agree(self, client: aiodocker.Docker) -> str:
        """The newest version of the API that both know, such as `1.41`."""
        async with self._asking("/version", self._timeout), asyncio.timeout(self._timeout):
            said = await client._query_json("version", versioned_api=False)
        newest, oldest = _numbers(said.get("ApiVersion", "")), _numbers(said.get("MinAPIVersion", "")) or (1, 0)
        if not newest or newest < OLDEST or oldest > NEWEST:
            raise ProviderUnavailable(
                f"the Docker Engine at {self.url} speaks API {said.get('MinAPIVersion', '?')} to "
                f"{said.get('ApiVersion', '?')}, Penstock {'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}: "
                f"{'upgrade Docker' if not newest or newest < OLDEST else 'upgrade Penstock'}"
            )
        return ".".join(map(str, min(newest, NEWEST)))

    async def _call(
        self, method: str, path: str, body: Document | None, params: Document, headers: Mapping[str, str] | None = None
    ) -> Any:
        client = self._opened()
        async with self._asking(path, self._timeout), asyncio.timeout(self._timeout):
            return await client._query_json(
                path.lstrip("/"), method, params=_parameters(params), data=body, headers=headers or {}
            )

    @asynccontextmanager
    async def _asking(self, path: str, limit: float = CALL_TIMEOUT) -> AsyncIterator[None]:
        """Translates what aiodocker raises; `limit` is for how many seconds an answer is waited for."""
        try:
            yield
        except aiodocker.DockerError as error:
            if error.status == _NO_CONNECTION:
                raise ProviderUnavailable(self._unreachable(error.message)) from error
            raise EngineRefused(error.status, error.message.strip() or f"error {error.status}") from error
        except TimeoutError as error:
            raise ProviderUnavailable(
                f"the Docker Engine at {self.url} does not answer {path.split('?')[0]} within {limit:g} s"
            ) from error
        except (OSError, ValueError, aiohttp.ClientError) as error:
            raise ProviderUnavailable(f"the Docker Engine at {self.url} broke off: {error}") from error

    def _unreachable(self, message: str) -> str:
        socket = self.url.removeprefix("unix://")
        if not self.url.startswith("unix://"):
            return f"the Docker Engine at {self.url} does not answer: {message}"
        try:
            os.stat(socket)
            allowed = os.access(socket, os.W_OK)
        except PermissionError:
            allowed = False
        except OSError:
            return f"no Docker Engine at {socket}: the socket does not exist; start Docker, or set DOCKER_HOST"
        if not allowed:
            return f"the Docker Engine's socket {socket} may not be used by this user: join its group (usermod -aG docker), or run as root"
        return f"the Docker Engine at {socket} does not answer; is dockerd running?"


def _usual_socket() -> str | None:
    """None where aiodocker shall look itself: the current context and the usual places."""
    home_socket = Path.home() / ".docker/run/docker.sock"
    config = Path.home() / ".docker/config.json"
    with suppress(OSError, ValueError):
        if json.loads(config.read_bytes()).get("currentContext", "default") != "default":
            return None
    return None if home_socket.is_socket() and not Path("/var/run/docker.sock").exists() else DEFAULT_SOCKET


def _parameters(params: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in params.items()
        if value is not None
    }


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(int(part) for part in parts) if all(part.isascii() and part.isdigit() for part in parts) else ()
