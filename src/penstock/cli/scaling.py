"""Why a function has the replicas that it has, as lines of `penstock describe`."""

from __future__ import annotations

import click

from penstock.cli.output import print_columns
from penstock.cli.schema import Decision, ScalingReport

SHOWN = 5
"""Decisions; `--output json` has all that the gateway keeps."""


def scaling_fields(report: ScalingReport) -> list[tuple[str, str]]:
    """Bounds, load, what holds it and what is wrong; nothing where that says nothing."""
    labels = report.scaling
    bounds = f"{labels.min} to {labels.max} replicas"
    if labels.min == labels.max:
        bounds = f"{labels.min} replicas, whatever the load"
    elif not report.autoscaling:
        bounds += ", by alerts and by hand only"
    fields = [
        ("Scaling", bounds),
        ("Target", f"{labels.type}, {labels.target:g} a replica, {labels.proportion:.0%} of it used"),
        ("Load", f"{report.load.value:.4g}" if report.load.value is not None else f"not known: {report.load.unknown}"),
        ("Held", _held(report)),
        ("Rests", _rests(report)),
        ("Alerts", report.alert.hint),
        ("Label Faults", "\n".join(report.faults)),
    ]
    if not report.leader:
        fields.append(("Decided", "by another gateway, which knows why"))
    return [(key, value) for key, value in fields if value]


def print_decisions(report: ScalingReport) -> None:
    """The last ones, newest last."""
    last = report.decisions[-SHOWN:]
    if not last:
        return
    click.echo()
    headings = ("When", "Rule", "Replicas", "Reason")
    rows = [(one.when[:19].replace("T", " "), one.rule, f"{one.before} -> {one.after}", _reason(one)) for one in last]
    widths = tuple(max(len(row[column]) for row in (headings, *rows)) for column in range(3))
    print_columns(headings, rows, (*widths, 0))


def _reason(decision: Decision) -> str:
    return f"{decision.reason}; failed: {decision.failed}" if decision.failed else decision.reason


def _held(report: ScalingReport) -> str:
    if not report.floor:
        return ""
    by = "an alert" if report.floor_by == "alert" else "a number set by hand"
    return f"at {report.floor} or more, by {by}"


def _rests(report: ScalingReport) -> str:
    if report.rests_after is None:
        return ""
    return f"after {report.rests_after:g} s without a request{_learned(report)}; idle for {report.idle_for:.0f} s"


def _learned(report: ScalingReport) -> str:
    learning = report.learning
    if learning is None:
        return ""
    known = learning.pauses >= learning.needed
    return " (learned)" if known else f" (learning, {learning.pauses} of {learning.needed} pauses)"
