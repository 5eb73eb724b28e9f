"""As whom requests are made: what a kubeconfig's user, or a pod, has for it, renewed when it is over or refused. Used by `connect`.

Sources: "Authenticating" and "User impersonation" of Kubernetes' documentation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Generator, Mapping
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx2

from penstock.errors import SettingsError
from penstock.providers.clock import Clock
from penstock.providers.kubernetes.client.errors import CredentialsUnavailable
from penstock.providers.kubernetes.client.execplugin import ExecPlugin, Token, is_token
from penstock.providers.kubernetes.client.kubeconfig import Chosen

FILE_HOLDS = 60.0
"""Seconds until a token's file is read again; the kubelet writes a new one long before the old one is over."""
EARLY = timedelta(seconds=5)
"""How long before its end a token is renewed: it has to be on its way still."""
AGAIN = 5.0
"""Seconds before a program that failed, or whose token was refused, is run again: all that follow the cluster ask at once."""

_log = logging.getLogger(__name__)


def credentials(chosen: Chosen, environ: Mapping[str, str], clock: Clock) -> httpx2.Auth | None:
    """None for a user with a certificate, or nothing. Raises SettingsError for what cannot be used."""
    user = chosen.user
    if user.auth_provider is not None and not (user.exec or user.token or user.token_file):
        raise SettingsError(
            f"kubernetes: {chosen.user_named} has an auth-provider, which Kubernetes has given up; use an exec plugin"
        )
    if user.token_file:
        return _TokenFile(chosen.user_folder / user.token_file, clock)
    if user.token:
        if not is_token(user.token.strip()):
            raise SettingsError(f"kubernetes: token of {chosen.user_named} has characters that no header may have")
        return _Bearer(user.token.strip())
    if user.exec:
        return ExecToken(ExecPlugin(chosen, environ), clock)
    if user.username:
        return httpx2.BasicAuth(user.username, user.password or "")
    return None


def impersonation(chosen: Chosen) -> list[tuple[str, str]]:
    """Headers of a user who acts as another one."""
    user = chosen.user
    named = [("Impersonate-User", user.as_), ("Impersonate-Uid", user.as_uid)]
    return [
        *((name, value) for name, value in named if value),
        *(("Impersonate-Group", group) for group in user.as_groups or ()),
        *(
            (f"Impersonate-Extra-{quote(name, safe='')}", value)
            for name, values in (user.as_user_extra or {}).items()
            for value in values
        ),
    ]


class _Bearer(httpx2.Auth):
    """A token that stays as it is."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        _bear(request, self._token)
        yield request


class _TokenFile(httpx2.Auth):
    """One that somebody else renews in its file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._read_at = clock.monotonic()
        try:
            self._token = self._read()
        except CredentialsUnavailable as error:
            raise SettingsError(f"kubernetes: {error}") from error

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        used = self._current()
        _bear(request, used)
        response = yield request
        if response.status_code == 401:
            self._token = self._read()
            if self._token != used:
                _bear(request, self._token)
                yield request

    def _current(self) -> str:
        if self._clock.monotonic() - self._read_at >= FILE_HOLDS:
            try:
                self._token = self._read()
            except CredentialsUnavailable as error:
                _log.warning("the token of before is used: %s", error)
                self._read_at = self._clock.monotonic()
        return self._token

    def _read(self) -> str:
        try:
            token = self._path.read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise CredentialsUnavailable(f"the token in {self._path} cannot be read: {why}") from error
        if not is_token(token):
            raise CredentialsUnavailable(f"what is in {self._path} is no token")
        self._read_at = self._clock.monotonic()
        return token


class ExecToken(httpx2.Auth):
    """One that a program gives. It runs once for all who wait, and on though one of them has no more time."""

    def __init__(self, plugin: ExecPlugin, clock: Clock) -> None:
        self._plugin, self._clock = plugin, clock
        self._token: Token | None = None
        self._run: asyncio.Task[Token] | None = None
        self._failure: CredentialsUnavailable | None = None
        self._quiet_until = float("-inf")
        """Until when the program is not run again, because it failed or its token was refused."""

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        used = await self._current()
        _bear(request, used.text)
        response = yield request
        if response.status_code != 401:
            return
        if self._token is used:
            if self._clock.monotonic() < self._quiet_until:
                return
            self._token = None
            self._quiet_until = self._clock.monotonic() + AGAIN
        renewed = await self._current()
        _bear(request, renewed.text)
        yield request

    async def close(self) -> None:
        """End the program, if it runs."""
        if self._run:
            self._run.cancel()
            await asyncio.gather(self._run, return_exceptions=True)

    async def _current(self) -> Token:
        token = self._token
        if token and (token.expires is None or token.expires - EARLY > self._clock.now()):
            return token
        if self._failure and self._clock.monotonic() < self._quiet_until:
            raise CredentialsUnavailable(str(self._failure)) from self._failure
        if self._run is None or self._run.done():
            self._run = asyncio.create_task(self._renew())
            self._run.add_done_callback(lambda run: run.cancelled() or run.exception())  # those who asked may be gone
        run = self._run
        try:
            return await asyncio.shield(run)
        except asyncio.CancelledError:
            asking = asyncio.current_task()
            if not run.cancelled() or (asking and asking.cancelling()):
                raise
            raise CredentialsUnavailable("the connection to the Kubernetes API is closed") from None

    async def _renew(self) -> Token:
        try:
            self._token = await self._plugin.token()
        except CredentialsUnavailable as error:
            self._failure, self._quiet_until = error, self._clock.monotonic() + AGAIN
            raise
        self._failure = None
        return self._token


def _bear(request: httpx2.Request, token: str) -> None:
    request.headers["Authorization"] = f"Bearer {token}"
