"""A token that one function accepts, in exchange for the token of a login (RFC 8693; contract gateway §7.4).

Used by `penstock invoke` for functions with `jwt_auth`. The login's own token goes to the gateway only, never to the function.
"""

from __future__ import annotations

import re
from urllib.parse import urlencode

import msgspec

from penstock.cli.client import Gateway, Reply, decode, refusal
from penstock.errors import NotSupported, PenstockError, Unauthorized

_PATH = "/oauth/token"
_REALM = re.compile(r'\brealm="?IAM function invoke\b', re.IGNORECASE)
_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - the name of a kind of token


class _Answer(msgspec.Struct):
    access_token: str = ""


class _Refusal(msgspec.Struct):
    error: str = ""
    error_description: str = ""


def asks_for_exchange(status: int, challenge: str) -> bool:
    """Whether an answer with that WWW-Authenticate says that a token of this kind is missing."""
    return status == 401 and bool(_REALM.search(challenge))


def login_token(authorization: str, url: str) -> str:
    """The token in the header of a login. Raises Unauthorized where the login is by password, or there is none."""
    scheme, _, token = authorization.partition(" ")
    if scheme != "Bearer" or not token:
        raise Unauthorized(
            f"the function asks for a token, and the login for {url} has none to exchange for one; give one by --token"
        )
    return token


async def exchange(gateway: Gateway, subject: str, audience: str) -> str:
    """The token for `audience`, `namespace:function`. Raises Unauthorized, NotSupported, and what the client raises."""
    form = urlencode(
        {
            "grant_type": _GRANT,
            "subject_token": subject,
            "subject_token_type": _ID_TOKEN,
            "audience": audience,
            "scope": "function",
        }
    ).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with gateway.stream("POST", _PATH, headers=headers, data=form) as response:
        reply = Reply(response.status, response.reason or "", await response.read())
    if reply.status in (404, 405, 501):
        raise NotSupported(f"the gateway at {gateway.target.url} exchanges no tokens (it has no {_PATH})")
    if reply.status in (400, 401, 403):
        raise Unauthorized(f"the gateway gives no token for {audience}: {_reason(reply)}")
    if reply.status != 200:
        raise refusal(reply)
    token: str = decode(reply.body, _Answer).access_token
    if not token or not token.isascii() or not token.isprintable():
        raise PenstockError("the gateway's answer to the exchange holds no token that a header can carry")
    return token


def _reason(reply: Reply) -> str:
    try:
        said = msgspec.json.decode(reply.body, type=_Refusal)
    except msgspec.MsgspecError:
        return reply.text or f"{reply.status} {reply.reason}"
    return ": ".join(word for word in (said.error, said.error_description) if word) or reply.text
