"""Lines of Prometheus' text format 0.0.4, of which all families of metrics in `control` are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from penstock.gateway.messages import LATENCY_BUCKETS

_BOUNDS = (*(f"{bound:g}" for bound in LATENCY_BUCKETS), "+Inf")
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def head(name: str, kind: str, help_text: str) -> Iterator[str]:
    yield f"# HELP {name} {help_text}"
    yield f"# TYPE {name} {kind}"


def family(name: str, kind: str, help_text: str, values: Mapping[str, float]) -> Iterator[str]:
    """One value for each function, by `name.namespace`."""
    yield from head(name, kind, help_text)
    for key, value in sorted(values.items()):
        yield f"{name}{{{label('function_name', key)}}} {number(value)}"


def histogram(name: str, labels: str, buckets: Sequence[int], seconds: float) -> Iterator[str]:
    """One series with the buckets of `LATENCY_BUCKETS` and the one above them, each as counted for itself."""
    cumulative = 0
    for bound, count in zip(_BOUNDS, buckets, strict=True):
        cumulative += count
        yield f'{name}_bucket{{{labels},le="{bound}"}} {cumulative}'
    yield f"{name}_sum{{{labels}}} {seconds!r}"
    # The sum of the buckets, not a count of its own: a histogram whose two totals differ confuses every rate over it.
    yield f"{name}_count{{{labels}}} {cumulative}"


def label(name: str, value: str) -> str:
    """`name="value"`, whatever is in the value."""
    return f'{name}="{value.translate(_ESCAPES)}"'


def number(value: float) -> str:
    """The shortest text that means exactly this; whole numbers without a point."""
    return str(int(value)) if value == int(value) else repr(value)
