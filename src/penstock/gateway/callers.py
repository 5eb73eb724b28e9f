"""Who may call functions with objects of a store: the administrator, and whoever has the function's own token.

Plain calls ask nobody. The password is read where the control process reads it, so that both accept the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from penstock.core.tokens import accepts, bearer_token, derive_key
from penstock.credentials import Credentials, load_credentials
from penstock.errors import Forbidden, Unauthorized
from penstock.settings import Home
from penstock.webpages import foreign_host, foreign_page


class Callers:
    """Checks requests. One per worker."""

    def __init__(self, home: Home, environ: Mapping[str, str], no_auth: bool) -> None:
        self._home = home
        self._environ = environ
        self._no_auth = no_auth
        self._known: asyncio.Task[tuple[Credentials, bytes]] | None = None

    async def check(self, fields: Mapping[str, str], function: str) -> None:
        """Let a request with these fields (by name in lower case) pass. `function` is the key of what it calls, empty for
        what has no token of its own. Raises Unauthorized, Forbidden, SettingsError."""
        # These requests reach further than the function: no page of another site may make them, whatever their method.
        fault = foreign_page("POST", fields) or (self._no_auth and foreign_host(fields))
        if fault:
            raise Forbidden(fault)
        if self._no_auth:
            return
        authorization = fields.get("authorization", "")
        credentials, key = await self._load()
        if credentials.accept(authorization):
            return
        token = bearer_token(authorization)
        if token is None:
            raise Unauthorized(
                "objects of a store need the administrator's credentials, or the function's token (penstock token NAME)"
            )
        if not function:
            raise Forbidden("a pipeline without a name has no token: deploy it, or use the administrator's credentials")
        if not accepts(key, function, token):
            raise Forbidden(f"this is not the token of function {function}")

    async def prepare(self) -> None:
        """Have at hand what checking needs. Raises SettingsError."""
        if not self._no_auth:
            await self._load()

    async def _load(self) -> tuple[Credentials, bytes]:
        """The account and the key of all tokens, worked out once in a thread."""
        if self._known is None:
            self._known = asyncio.get_running_loop().create_task(asyncio.to_thread(self._derive))
        try:
            return await asyncio.shield(self._known)
        except Exception:
            self._known = None  # it may be readable the next time
            raise

    def _derive(self) -> tuple[Credentials, bytes]:
        credentials = load_credentials(self._home, self._environ)
        return credentials, derive_key(credentials.password)
