"""`jwt_auth`: only calls with a token that permits this function reach it (contract watchdog §2.9).

The app has a `Guard` where the setting is on. The issuer is found once the watchdog runs, its keys are fetched again from time
to time and when a token names one that is not known yet, and a token that was verified is remembered for a while, so that a
client's further calls cost a look-up. Checks never wait on the network; a call that does is parked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penstock.core.headers import Field
from penstock.errors import SettingsError
from penstock.watchdog.call import CLIENT_GONE, PLAIN, Call
from penstock.watchdog.fetch import FetchFailed, fetch
from penstock.watchdog.logs import Log
from penstock.watchdog.settings import WatchdogSettings

try:
    import jwt
    from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
except ImportError as error:
    raise SettingsError("jwt_auth: needs the package PyJWT: pip install 'pyjwt[crypto]'") from error

CLUSTER_AUTHORITY = "http://gateway.openfaas:8080"
LOCAL_AUTHORITY = "http://127.0.0.1:8000"
DISCOVERY = "/.well-known/openid-configuration"
NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
"""Where Kubernetes tells a pod its namespace."""

LEEWAY = 1.0
"""Seconds by which clocks may differ."""
REFRESH_EVERY = 300.0
"""Seconds between two looks at the issuer's keys, and the longest that a token is remembered: a key that was withdrawn
permits nothing any more after that."""
REFRESH_GAP = 10.0
"""Least seconds between two fetches that unknown keys cause, so that garbage cannot have the issuer flooded."""
BACKOFF_FIRST, BACKOFF_MOST = 0.1, 10.0
"""Seconds between two attempts to reach the issuer; doubled each time up to the second."""
TOKEN_MOST = 16 << 10
"""Bytes of a token; larger ones are refused unread."""
REMEMBERED = 1024
"""Tokens remembered."""
REMEMBERED_SIZE = 4 << 10
"""Bytes of a token that is remembered, which bounds the memory of all to 4 MiB."""
KEYS_MOST = 100

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"P-256": ("ES256",), "P-384": ("ES384",), "P-521": ("ES512",)}
_OURS: Field = (b"X-OpenFaaS-Internal", b"faas-middleware")
_CHALLENGE: Field = (b"WWW-Authenticate", b"Bearer realm=IAM function invoke")
_STATED = re.compile(rb"^X-Auth-Seconds:[^\r]*\r\n", re.IGNORECASE | re.MULTILINE)


class Refused(Exception):
    """A token that permits nothing: 401 for one that proves nothing, 403 for one that does not permit this function."""

    def __init__(self, reason: str, status: int = 401) -> None:
        super().__init__(reason)
        self.status = status


class UnknownKey(Refused):
    """The token names a key that the issuer has not told us of, yet."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key and the algorithms it may be used with: the token does not get to choose among others."""

    key: Any
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Issuer:
    """What discovery tells: the name that tokens must bear, and its keys by `kid`."""

    name: str
    keys: Mapping[str, Key] = field(default_factory=dict)


class Guard:
    """Lets calls with a good token pass. Create inside a running loop; raises SettingsError for a namespace nobody tells."""

    def __init__(self, settings: WatchdogSettings, log: Log) -> None:
        self._function = f"{settings.openfaas_namespace or _pod_namespace()}:{settings.openfaas_name}"
        base = settings.jwt_authority or (LOCAL_AUTHORITY if settings.jwt_auth_local else CLUSTER_AUTHORITY)
        self._discovery = base.rstrip("/") + DISCOVERY
        self._debug = settings.jwt_auth_debug
        self._log = log
        self._issuer: Issuer | None = None
        self._trouble = "has not answered yet"
        self._task: asyncio.Task[None] | None = None
        self._wanted = asyncio.Event()
        self._refreshed = float("-inf")
        self._parked: list[_Parked] = []
        self._remembered: dict[bytes, float] = {}

    def start(self) -> None:
        """Begin to ask the issuer."""
        self._task = asyncio.get_running_loop().create_task(self._keep_asking())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def unready(self) -> str:
        """Why no token can be checked; empty when they can."""
        return "" if self._issuer is not None else f"tokens cannot be checked: {self._trouble}"

    def check(self, call: Call, proceed: Callable[[Call], None]) -> None:
        """Call `proceed`, now or after keys have come, or answer 401, 403, or 503 while the issuer is not known."""
        self._check(call, proceed, may_wait=True)

    def _check(self, call: Call, proceed: Callable[[Call], None], *, may_wait: bool) -> None:
        began = time.perf_counter()
        issuer = self._issuer
        if issuer is None:
            # Where the issuer is said to be is for /_/ready and the log, not for callers that nobody knows yet.
            call.refuse(503, "tokens cannot be checked yet", ((b"Retry-After", b"1"),))
            return
        try:
            self._judge(call, issuer)
        except UnknownKey as refusal:
            if may_wait and self._may_refresh():
                self._parked.append(_Parked(call, proceed))
                self._wanted.set()
            else:
                self._refuse(call, refusal)
        except Refused as refusal:
            self._refuse(call, refusal)
        else:
            _state_seconds(call, time.perf_counter() - began)
            proceed(call)

    def _judge(self, call: Call, issuer: Issuer) -> None:
        """Raises Refused, UnknownKey."""
        token = bearer(call.request.get(b"authorization"))
        now = time.time()
        if self._remembered.get(token, 0.0) > now:
            return
        claims = verify(token, issuer)
        if not permits(claims.get("function"), self._function):
            raise Refused(f"the token does not permit {self._function}", 403)
        if len(token) <= REMEMBERED_SIZE:
            while len(self._remembered) >= REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[token] = min(float(claims.get("exp", now + REFRESH_EVERY)), now + REFRESH_EVERY)

    def _refuse(self, call: Call, refusal: Refused) -> None:
        if self._debug:
            request = call.request
            what = f"{request.method.decode('latin-1')} {request.path.decode('latin-1')}"
            self._log.line(f"[JWT Auth] {what} - {refusal.status}: {refusal}", call.call_id)
        fields = (PLAIN, _OURS, _CHALLENGE) if refusal.status == 401 else (PLAIN, _OURS)
        call.respond(refusal.status, fields, str(refusal).encode("utf-8", "backslashreplace") + b"\n")

    # The issuer

    def _may_refresh(self) -> bool:
        return self._wanted.is_set() or time.monotonic() - self._refreshed >= REFRESH_GAP

    async def _keep_asking(self) -> None:
        """Find the issuer, then keep its keys fresh."""
        backoff = BACKOFF_FIRST
        while True:
            try:
                issuer = await discover(self._discovery)
            except FetchFailed as error:
                self._failed(str(error))
                pause, backoff = backoff, min(backoff * 2, BACKOFF_MOST)
            else:
                self._learn(issuer)
                pause, backoff = REFRESH_EVERY, BACKOFF_FIRST
            self._refreshed = time.monotonic()
            self._wanted.clear()
            self._release()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()

    def _failed(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            kept = "; the keys known so far are kept" if self._issuer is not None else ""
            self._log.line(f"the issuer of tokens cannot be asked: {trouble}{kept}")

    def _learn(self, issuer: Issuer) -> None:
        known = self._issuer
        if known is None or self._trouble:
            self._log.line(f"tokens of {issuer.name} are accepted, with {len(issuer.keys)} keys")
        self._remembered.clear()
        self._trouble = ""
        self._issuer = issuer

    def _release(self) -> None:
        """Judge those that have waited for keys, once and for all."""
        parked, self._parked = self._parked, []
        for one in parked:
            if not one.gone:
                one.call.exchange.detach()
                self._check(one.call, one.proceed, may_wait=False)


class _Parked:
    """A call that waits for keys; hears of a client that leaves meanwhile."""

    __slots__ = ("call", "gone", "proceed")

    def __init__(self, call: Call, proceed: Callable[[Call], None]) -> None:
        self.call = call
        self.proceed = proceed
        self.gone = False
        call.exchange.watch(self)

    def body(self, data: bytes) -> None:
        """Nothing was asked for."""

    def body_end(self) -> None:
        """As above."""

    def client_gone(self) -> None:
        self.gone = True
        self.call.end(CLIENT_GONE)

    def writable(self, ready: bool) -> None:
        """Nothing is written."""


async def discover(url: str) -> Issuer:
    """The issuer whose discovery document is at `url`, with its keys. Raises FetchFailed."""
    document = _json_object(url, await fetch(url))
    name, place = document.get("issuer"), document.get("jwks_uri")
    if not (isinstance(name, str) and name and isinstance(place, str) and place):
        raise FetchFailed(f"{url}: the document does not name an issuer and its jwks_uri")
    listed = _json_object(place, await fetch(place)).get("keys")
    keys: dict[str, Key] = {}
    for entry in listed[:KEYS_MOST] if isinstance(listed, list) else []:
        key = public_key(entry)
        if key is not None:
            keys.setdefault(entry["kid"], key)
    if not keys:
        raise FetchFailed(f"{place}: there is no usable public key in the document")
    return Issuer(name, keys)


def public_key(entry: object) -> Key | None:
    """The key in an entry of a JWK set (RFC 7517); None for what cannot, or must not, verify a token."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry.get("use", "sig") != "sig":
        return None
    kind, curve = entry.get("kty"), entry.get("crv")
    key: Any
    algorithms: tuple[str, ...]
    try:
        if kind == "RSA":
            key, algorithms = RSAAlgorithm.from_jwk(entry), _RSA
        elif kind == "EC" and curve in _CURVES:
            key, algorithms = ECAlgorithm.from_jwk(entry), _CURVES[curve]
        elif kind == "OKP" and curve in ("Ed25519", "Ed448"):
            key, algorithms = OKPAlgorithm.from_jwk(entry), ("EdDSA",)
        else:
            return None
    except Exception:  # whatever a library makes of somebody's JSON, it is no key
        return None
    stated = entry.get("alg")
    if stated is not None:
        algorithms = tuple(name for name in algorithms if name == stated)
    if hasattr(key, "public_key"):  # somebody publishes a private one
        key = key.public_key()
    return Key(key, algorithms) if algorithms else None


def bearer(value: bytes | None) -> bytes:
    """The token of an Authorization field. Raises Refused."""
    if value is None:
        raise Refused("a bearer token is required in the Authorization field")
    scheme, _, token = value.partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise Refused("the Authorization field holds no bearer token")
    if len(token) > TOKEN_MOST:
        raise Refused(f"the token has more than {TOKEN_MOST} bytes")
    return token


def verify(token: bytes, issuer: Issuer) -> dict[str, Any]:
    """Claims of a token that the issuer has signed for itself as audience and that is valid now. Raises Refused, UnknownKey."""
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except Exception as error:  # nested, endless, not text: whatever breaks the parser is no token
        raise Refused("the token cannot be read") from error
    if not isinstance(kid, str):
        raise Refused("the token does not name its key")
    key = issuer.keys.get(kid)
    if key is None:
        raise UnknownKey("the token's key is not one of its issuer's")
    try:
        claims = jwt.decode(
            token,
            key.key,
            algorithms=list(key.algorithms),
            issuer=issuer.name,
            audience=issuer.name,
            leeway=LEEWAY,
            options={"verify_iat": False},
        )
    except jwt.PyJWTError as error:
        raise Refused(f"the token is not valid: {error}") from error
    except Exception as error:  # as above
        raise Refused("the token cannot be read") from error
    return dict(claims)


def permits(claim: object, function: str) -> bool:
    """Whether a `function` claim permits `namespace:name`: its `permissions` must match, and its `audience` unless empty."""
    if not isinstance(claim, dict):
        return False
    permissions, audience = claim.get("permissions"), claim.get("audience") or []
    if not isinstance(permissions, list) or not isinstance(audience, list):
        return False
    return _any_matches(permissions, function) and (not audience or _any_matches(audience, function))


def _any_matches(patterns: list[object], function: str) -> bool:
    return any(isinstance(pattern, str) and matches(pattern, function) for pattern in patterns)


def matches(pattern: str, text: str) -> bool:
    """Whether the whole of `text` is `pattern`, in which `*` stands for anything. Looks at no place twice: no expression that
    somebody could make slow."""
    first, *rest = pattern.split("*")
    if not rest:
        return pattern == text
    *middle, last = rest
    if not text.startswith(first) or not text[len(first) :].endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def _state_seconds(call: Call, seconds: float) -> None:
    """Tell the function how long the check took; what the client claims about that is dropped."""
    request = call.request
    fields = _STATED.sub(b"", request.raw_fields) + b"X-Auth-Seconds: %.6f\r\n" % seconds
    call.request = request.rewritten(request.target, fields)


def _json_object(place: str, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise FetchFailed(f"{place}: what came is not JSON") from error
    if not isinstance(document, dict):
        raise FetchFailed(f"{place}: what came is not a JSON object")
    return document


def _pod_namespace() -> str:
    try:
        with open(NAMESPACE_FILE, encoding="utf-8") as file:
            namespace = file.read().strip()
    except OSError:
        namespace = ""
    if not namespace:
        raise SettingsError(
            "OPENFAAS_NAMESPACE: is required with jwt_auth outside of Kubernetes, which tells it in a file"
        )
    return namespace
