"""Lines of Prometheus' text format 0.0.4, of which all families of metrics in `control` are made."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence

from penstock.gateway.messages import LATENCY_BUCKETS

_BOUNDS = (*(f"{bound:g}" for bound in LATENCY_BUCKETS), "+Inf")
_HISTOGRAM = "\n".join([*(f'%s,le="{bound}"}} %d' for bound in _BOUNDS), "%s_sum{%s} %r", "%s_count{%s} %d"])
"""All lines of one series, filled in at once: there are a thousand of them in a scrape, of fourteen lines each."""
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})

KNOWN_LABELS = 16384
"""Labels whose text is kept: a function's name stands in a dozen families, and in all of them again at the next scrape. With more
functions than that each is forgotten before it is needed again, and some megabytes are what it takes at most."""


def head(name: str, kind: str, help_text: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"


def family(name: str, kind: str, help_text: str, values: Mapping[str, float]) -> Iterator[str]:
    """One value for each function, by `name.namespace`."""
    yield from head(name, kind, help_text)
    for key in sorted(values):
        yield f"{name}{{{label('function_name', key)}}} {number(values[key])}"


def histogram(name: str, labels: str, buckets: Sequence[int], seconds: float) -> str:
    """The lines of one series with the buckets of `LATENCY_BUCKETS` and the one above them, each as counted for itself."""
    start = f"{name}_bucket{{{labels}"
    filled = [item for count in itertools.accumulate(buckets) for item in (start, count)]
    # The sum of the buckets, not a count of its own: a histogram whose two totals differ confuses every rate over it.
    return _HISTOGRAM % (*filled, name, labels, seconds, name, labels, filled[-1])


@functools.lru_cache(KNOWN_LABELS)
def label(name: str, value: str) -> str:
    """`name="value"`, whatever is in the value."""
    return f'{name}="{value.translate(_ESCAPES)}"'


def number(value: float) -> str:
    """The shortest text that means exactly this; whole numbers without a point."""
    if type(value) is int:
        return str(value)
    return str(int(value)) if value == int(value) else repr(value)
