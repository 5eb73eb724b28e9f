"""What a row found and how the table is written, as Markdown and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Verdict = Literal["met", "missed", "failed", "info"]


@dataclass(frozen=True)
class Finding:
    """One line of the table, with all the numbers behind it."""

    row: str
    what: str
    target: str
    """In words; empty for numbers that have none."""
    measured: str
    verdict: Verdict
    numbers: Mapping[str, Any] = field(default_factory=dict)
    """Raw samples, units in the names."""
    notes: tuple[str, ...] = ()
    """How it was measured, and what limits it."""


def judge(value: float, *, at_least: float | None = None, at_most: float | None = None) -> Verdict:
    """met or missed."""
    low = at_least is None or value >= at_least
    return "met" if low and (at_most is None or value <= at_most) else "missed"


def as_json(machine: Mapping[str, Any], findings: Sequence[Finding]) -> str:
    """The whole result; floats rounded to six significant digits."""
    document = {"machine": dict(machine), "rows": [asdict(finding) for finding in findings]}
    return json.dumps(_rounded(document), indent=1) + "\n"


def as_markdown(machine: Mapping[str, Any], findings: Sequence[Finding]) -> str:
    """The table, then each row's notes and numbers."""
    parts = ["# Speed, measured", "", *(f"- {name}: {_text(value)}" for name, value in machine.items()), ""]
    parts += table(findings)
    for finding in findings:
        parts += ["", f"## {finding.row}: {finding.what}", ""]
        parts += [f"{note}\n" for note in finding.notes]
        parts += [f"- {name}: {_text(value)}" for name, value in finding.numbers.items()]
    return "\n".join(parts) + "\n"


def table(findings: Sequence[Finding]) -> list[str]:
    """Lines of the Markdown table."""
    lines = ["| row | what | to reach | measured | verdict |", "|---|---|---|---|---|"]
    for finding in findings:
        cells = (finding.row, finding.what, finding.target or "-", finding.measured, finding.verdict)
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return lines


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{_rounded(value):,.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(item)}" for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_text(item) for item in value)
    return str(value)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {name: _rounded(item) for name, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(item) for item in value]
    return value
