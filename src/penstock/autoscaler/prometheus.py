"""Loads that a Prometheus knows: of functions with an expression of their own, and of those that name a recorded series.

`autoscaler.loads` says which functions these are and asks for values; a task of control's runs `run`. What cannot be known is
None: an answer that is too old, that has no sample, or that is no number. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import aiohttp
import msgspec
from yarl import URL

from penstock.core.names import split_key
from penstock.core.scalelabels import Scaling
from penstock.model import DEFAULT_NAMESPACE
from penstock.providers.clock import Clock

log = logging.getLogger(__name__)

EVERY = 5.0
"""Seconds between two rounds of questions."""
LONGEST_PAUSE = 60.0
"""Seconds between two attempts to reach it, at most; doubled from `EVERY` on."""
TIMEOUT = 4.0
"""Seconds that an answer may take."""
STALE = 15.0
"""Seconds for which an answer counts."""
LARGEST = 4 * 1024 * 1024
"""Bytes of an answer: some 20,000 functions of one series."""
AT_ONCE = 8
"""Questions, so that a thousand functions with expressions of their own are no burden at any moment."""

SERIES = "job:function_current_load:sum"
"""Of OpenFaaS Pro's rules (contract gateway §5.6), with the labels `function_name` and `scaling_type`."""
_NO_URL = "no Prometheus is configured: set prometheus_url (--prometheus-url, or PENSTOCK_PROMETHEUS_URL)"
PLACE = "{{function}}"
"""Stands for `name.namespace` in an expression."""


class _Sample(msgspec.Struct):
    value: tuple[float, str]
    metric: dict[str, str] = {}


class _Data(msgspec.Struct, rename={"kind": "resultType"}):
    kind: str
    result: msgspec.Raw


class _Answer(msgspec.Struct):
    status: str
    data: _Data | None = None
    error: str = ""


class _Value(NamedTuple):
    when: float
    load: float | None
    why: str = ""


class _Refused(Exception):
    """Prometheus answered, and this question has no usable answer."""


class _Unreachable(Exception):
    """It did not answer as a Prometheus would."""


class PrometheusLoads:
    """The loads of the functions that `watch` names, asked for again and again by `run`. Without a `url` none is known."""

    def __init__(self, url: str, clock: Clock, session: Callable[[], aiohttp.ClientSession]) -> None:
        """`session` makes one that unpacks nothing, so that the bound on an answer's size is one."""
        self._url = URL(url.rstrip("/") + "/api/v1/query") if url else None
        self._clock = clock
        self._make_session = session
        self._wanted: Mapping[str, Scaling] = {}
        self._values: dict[str, _Value] = {}
        self.fault = "" if url else _NO_URL
        """Why nothing can be known, and since when; empty while it answers."""

    def watch(self, wanted: Mapping[str, Scaling]) -> None:
        """The functions whose values are needed from now on, by `name.namespace`."""
        for key in self._values.keys() - wanted.keys():
            del self._values[key]
        self._wanted = wanted

    def value(self, key: str) -> float | None:
        """The load of all replicas together, if it is known."""
        found = self._values.get(key)
        return found.load if found and self._clock.monotonic() - found.when <= STALE else None

    def why(self, key: str) -> str:
        """Why the load is not known; empty when it is."""
        found = self._values.get(key)
        if self.value(key) is not None:
            return ""
        return self.fault or (found.why if found else "") or "Prometheus has not been asked yet"

    async def run(self) -> None:
        """Ask until cancelled."""
        if self._url is None:
            return
        async with self._make_session() as session:
            pause = EVERY
            while True:
                try:
                    await self._round(session, self._url)
                except Exception:
                    log.exception("a round of questions to Prometheus failed")
                if not self.fault:
                    pause = EVERY
                await self._clock.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _round(self, session: aiohttp.ClientSession, url: URL) -> None:
        """One question for each expression, and one for all recorded series. It is unreachable when none of them was answered."""
        wanted = dict(self._wanted)
        own = {key: scaling for key, scaling in wanted.items() if scaling.kind == "query"}
        recorded = {key: scaling.kind for key, scaling in wanted.items() if scaling.kind != "query"}
        questions = [_One(key, scaling.query.replace(PLACE, _escaped(key))) for key, scaling in own.items()]
        pending: list[_One | _Recorded] = [*([_Recorded(recorded)] if recorded else []), *questions]
        answered, failed = 0, ""
        for start in range(0, len(pending), AT_ONCE):
            batch = pending[start : start + AT_ONCE]
            for outcome in await asyncio.gather(*(self._put(session, url, question) for question in batch)):
                answered, failed = (answered, outcome) if outcome else (answered + 1, failed)
            if not answered:
                break
        if answered or not pending:
            self.fault = ""
            return
        self._values.clear()
        if not self.fault:
            since = self._clock.now().isoformat(timespec="seconds")
            self.fault = f"Prometheus at {_public(url)} cannot be asked since {since}: {failed}"

    async def _put(self, session: aiohttp.ClientSession, url: URL, question: _One | _Recorded) -> str:
        """Note what the answer says of each function; why there was none, if so."""
        try:
            loads: Mapping[str, float] = question.read(await _ask(session, url, question.expression))
            why = "the answer of Prometheus has no sample for it"
            failed = ""
        except _Refused as error:
            loads, why, failed = {}, str(error), ""
        except _Unreachable as error:
            loads, why, failed = {}, f"Prometheus could not be asked: {error}", str(error)
        now = self._clock.monotonic()
        for key in question.keys:
            load = loads.get(key)
            if load is not None and not math.isfinite(load):
                self._values[key] = _Value(now, None, f"Prometheus says {load}, which is no load")
            else:
                self._values[key] = _Value(now, load, why)
        return failed


class _One:
    """A question about one function."""

    def __init__(self, key: str, expression: str) -> None:
        self.keys = (key,)
        self.expression = expression

    def read(self, data: _Data) -> dict[str, float]:
        """A sample, or those of a vector together. Raises _Refused for other types."""
        if data.kind == "scalar":
            return {self.keys[0]: _number(_decode(data.result, tuple[float, str])[1])}
        samples = _vector(data)
        return {self.keys[0]: math.fsum(_summable(samples))} if samples else {}


class _Recorded:
    """A question about all functions whose load somebody's rules record, by the word that is their `scaling_type`."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = words
        self.keys = tuple(words)
        distinct = sorted(set(words.values()))
        [first, *others] = distinct
        pattern = "|".join(word.replace(".", "\\\\.") for word in distinct)
        self.expression = f'{SERIES}{{scaling_type=~"{pattern}"}}' if others else f'{SERIES}{{scaling_type="{first}"}}'

    def read(self, data: _Data) -> dict[str, float]:
        found: dict[str, list[_Sample]] = {}
        for sample in _vector(data):
            name, namespace = split_key(sample.metric.get("function_name", ""), DEFAULT_NAMESPACE)
            key = f"{name}.{namespace}"
            if self._words.get(key) == sample.metric.get("scaling_type", ""):
                found.setdefault(key, []).append(sample)
        return {key: math.fsum(_summable(samples)) for key, samples in found.items()}


async def _ask(session: aiohttp.ClientSession, url: URL, expression: str) -> _Data:
    """Raises _Refused or _Unreachable."""
    try:
        async with asyncio.timeout(TIMEOUT):
            async with session.get(url, params={"query": expression}, allow_redirects=False) as answer:
                body = await _body(answer)
                return _understood(answer.status, body)
    except TimeoutError as error:
        raise _Unreachable(f"no answer in {TIMEOUT:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise _Unreachable(f"{type(error).__name__}: {str(error)[:200]!r}") from error


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > LARGEST:
            raise _Refused(f"the answer of Prometheus is longer than {LARGEST} bytes")
    return bytes(body)


def _understood(status: int, body: bytes) -> _Data:
    """An error that Prometheus explains is the expression's; all others are of whatever listens there."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Unreachable(f"it answered {status}, and not as a Prometheus would") from error
    if answer.status == "error" and status not in (401, 403):
        raise _Refused(f"Prometheus refused the expression: {answer.error[:200]!r}")
    if status != 200 or answer.status != "success" or answer.data is None:
        raise _Unreachable(f"it answered {status} without data")
    return answer.data


def _vector(data: _Data) -> list[_Sample]:
    if data.kind != "vector":
        raise _Refused(f"the expression's result is of type {data.kind[:20]!r}, not a scalar or a vector")
    samples: list[_Sample] = _decode(data.result, list[_Sample])
    return samples


def _decode(raw: msgspec.Raw, kind: Any) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _Refused("the answer of Prometheus has samples of another form") from error


def _summable(samples: Iterable[_Sample]) -> list[float]:
    """Numbers whose sum is defined; a single one that is none spoils it."""
    numbers = [_number(sample.value[1]) for sample in samples]
    spoilt = [number for number in numbers if not math.isfinite(number) or abs(number) > 1e300]
    return spoilt[:1] or numbers


def _number(text: str) -> float:
    """NaN for what is no number at all."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _escaped(key: str) -> str:
    """As part of a string of PromQL in any of its quotes but backticks; names of functions have nothing to escape."""
    return key.replace("\\", "\\\\").replace('"', '\\"').replace("'", "\\'").replace("\n", "\\n")


def _public(url: URL) -> str:
    """Without a password."""
    return str(url.with_user(None))
