"""How a function wants to be scaled: its labels, read once (contract gateway §5.1).

A deployment with a label that cannot be used is refused (`scaling_of`). Functions that other programs made get the default in its
place, and whoever asks is told (`usable_scaling`). `core.scaling` decides by what is read here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from penstock.core.duration import parse_duration
from penstock.errors import InvalidInput

MIN_LABEL = "com.openfaas.scale.min"
MAX_LABEL = "com.openfaas.scale.max"
FACTOR_LABEL = "com.openfaas.scale.factor"
TYPE_LABEL = "com.openfaas.scale.type"
TARGET_LABEL = "com.openfaas.scale.target"
PROPORTION_LABEL = "com.openfaas.scale.target-proportion"
WINDOW_LABEL = "com.openfaas.scale.down.window"
ZERO_LABEL = "com.openfaas.scale.zero"
ZERO_AFTER_LABEL = "com.openfaas.scale.zero-duration"
OWN_ZERO_AFTER_LABEL = "com.penstock.scale.zero-duration"
QUERY_LABEL = "com.penstock.scale.query"
HPA_LABEL = "com.penstock.kubernetes.hpa"

DEFAULT_MIN = 1
DEFAULT_MAX = 20
DEFAULT_WINDOW = 30.0
"""Seconds. Off in the original, whose loads are averages over 30 s and more; ours are of the last seconds."""

LONGEST_WINDOW = 300.0
LONGEST_ZERO = 30 * 86400.0
LONGEST_QUERY = 4096
LEARNED = "auto"

_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?", re.ASCII)
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}", re.ASCII)


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """What the labels say. Times in seconds."""

    least: int = DEFAULT_MIN
    most: int = DEFAULT_MAX
    factor: int = 10
    """Per cent of `most` that an alert adds."""
    kind: str = "rps"
    """What the load is: `rps` requests a second, `capacity` requests in flight, `cpu` thousandths of a core, `queue` waiting
    calls, `query` a PromQL expression of the function's own; any other word is a series that Prometheus records."""
    target: float = 50.0
    """Load of one replica, of which `proportion` is to be used."""
    proportion: float = 0.9
    window: float = DEFAULT_WINDOW
    """How long fewer replicas must be enough before there are fewer."""
    zero: bool = False
    """Whether none are kept once the function has been idle for `zero_after`, or for as long as `learned` from its calls."""
    zero_after: float = 900.0
    learned: bool = False
    query: str = ""
    handed_over: bool = False
    """Whether an autoscaler of the user's decides between one and many."""

    @property
    def step(self) -> int:
        """Replicas that an alert adds. In whole numbers, where the original's floats now and then come out one higher."""
        return -(-self.most * self.factor // 100)

    @property
    def each(self) -> float:
        """Load that one replica is given."""
        return self.target * self.proportion

    @property
    def fixed(self) -> bool:
        """Whether load decides nothing (contract gateway §5.6)."""
        return self.least == self.most or self.handed_over


def scaling_of(labels: Mapping[str, str]) -> Scaling:
    """What labels ask for; empty ones count as absent. Raises InvalidInput naming the label that cannot be used."""
    read = {label: reader(labels[label]) for label, (_, reader) in _READERS.items() if labels.get(label)}
    return _together(labels, read)


def usable_scaling(labels: Mapping[str, str]) -> tuple[Scaling, tuple[str, ...]]:
    """As `scaling_of`, with the default for whatever cannot be used, and what was wrong with it."""
    usable = dict(labels)
    faults: list[str] = []
    while True:
        try:
            return scaling_of(usable), tuple(faults)
        except _Unusable as error:
            faults.append(str(error))
            usable[error.label] = error.instead


def initial_replicas(labels: Mapping[str, str]) -> int:
    """Replicas that a function begins with (contract gateway §5.1)."""
    return usable_scaling(labels)[0].least


class _Unusable(InvalidInput):
    """A label, and what to put in its place; empty for the default."""

    def __init__(self, label: str, problem: str, instead: str = "") -> None:
        super().__init__(f"labels: {label}{problem}")
        self.label = label
        self.instead = instead


def _together(labels: Mapping[str, str], read: Mapping[str, Any]) -> Scaling:
    """The values of single labels as one whole."""
    values = {_READERS[label][0]: value for label, value in read.items()}
    least = values.get("least", DEFAULT_MIN)
    most = values.setdefault("most", max(DEFAULT_MAX, least))
    if least > most:
        raise _Unusable(MIN_LABEL, f"={least} must not be more than {MAX_LABEL}={most}", labels[MAX_LABEL])
    query, kind = values.get("query", ""), values.setdefault("kind", "query" if values.get("query") else "rps")
    if kind == "query" and not query:
        raise _Unusable(TYPE_LABEL, f"=query needs an expression of PromQL in {QUERY_LABEL}")
    if query and kind != "query":
        raise _Unusable(QUERY_LABEL, f" is not used with {TYPE_LABEL}={kind}; leave one of them out")
    if OWN_ZERO_AFTER_LABEL in read:
        own = read[OWN_ZERO_AFTER_LABEL]
        values["learned"] = own is None
        if own is not None:
            values["zero_after"] = own
    values.pop("own_zero_after", None)
    return Scaling(**values, handed_over=labels.get(HPA_LABEL) == "true")


def _count(label: str, smallest: int, largest: int = 10**9 - 1) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 9 and smallest <= int(text) <= largest):
            rule = (
                f"from {smallest} to {largest}"
                if largest < 10**9 - 1
                else f"of at most nine digits, {smallest} or more"
            )
            raise _Unusable(label, f"={text[:40]!r} must be a whole number {rule}")
        return int(text)

    return read


def _positive(label: str, largest: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        if not (_NUMBER.fullmatch(text) and 0 < float(text) <= largest):
            raise _Unusable(label, f"={text[:40]!r} must be a number above 0 and not above {largest:g}")
        return float(text)

    return read


def _seconds(label: str, smallest: float, largest: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            seconds = parse_duration(text)
        except InvalidInput as error:
            raise _Unusable(label, f": {error}") from error
        if not smallest <= seconds <= largest:
            raise _Unusable(label, f"={text[:40]!r} must be from {smallest:g} to {largest:g} seconds")
        return seconds

    return read


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise _Unusable(ZERO_LABEL, f"={text[:40]!r} must be true or false")
    return text.lower() == "true"


def _kind(text: str) -> str:
    if not _TYPE.fullmatch(text):
        raise _Unusable(
            TYPE_LABEL, f"={text[:40]!r} must be rps, capacity, cpu, queue, query or the name of a recorded series"
        )
    return text


def _query(text: str) -> str:
    if len(text) > LONGEST_QUERY:
        raise _Unusable(QUERY_LABEL, f" has {len(text)} characters, at most {LONGEST_QUERY} are sent")
    return text


def _own_zero_after(text: str) -> float | None:
    """None when it is learned."""
    return None if text == LEARNED else _seconds(OWN_ZERO_AFTER_LABEL, 1, LONGEST_ZERO)(text)


_READERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    MIN_LABEL: ("least", _count(MIN_LABEL, 0)),
    MAX_LABEL: ("most", _count(MAX_LABEL, 1)),
    FACTOR_LABEL: ("factor", _count(FACTOR_LABEL, 1, 100)),
    TYPE_LABEL: ("kind", _kind),
    TARGET_LABEL: ("target", _positive(TARGET_LABEL, 1e9)),
    PROPORTION_LABEL: ("proportion", _positive(PROPORTION_LABEL, 1)),
    WINDOW_LABEL: ("window", _seconds(WINDOW_LABEL, 0, LONGEST_WINDOW)),
    ZERO_LABEL: ("zero", _switch),
    ZERO_AFTER_LABEL: ("zero_after", _seconds(ZERO_AFTER_LABEL, 1, LONGEST_ZERO)),
    OWN_ZERO_AFTER_LABEL: ("own_zero_after", _own_zero_after),
    QUERY_LABEL: ("query", _query),
}
"""By label: the field of `Scaling`, and what reads its text."""
