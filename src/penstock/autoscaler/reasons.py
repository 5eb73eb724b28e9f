"""Decisions in words: one sentence each, for the journal and everyone who reads it."""

from __future__ import annotations

from penstock.core.scalelabels import Scaling
from penstock.core.scaling import Inputs, Verdict

_UNITS = {
    "rps": "requests a second",
    "capacity": "requests in flight",
    "cpu": "thousandths of a core",
    "queue": "waiting calls",
}


def reason(scaling: Scaling, inputs: Inputs, verdict: Verdict, unknown: str = "") -> str:
    """Why a verdict is what it is; `unknown` says why there is no load."""
    match verdict.rule:
        case "unknown":
            return f"the load is not known ({unknown}): what there is stays"
        case "idle":
            return f"no request for {inputs.idle:.0f} s"
        case "minimum":
            return f"{_load(scaling, inputs)}: the least of {scaling.least} is enough"
        case "maximum":
            return f"{_load(scaling, inputs)} ask for {verdict.asked}, the most is {scaling.most}"
        case "window":
            return f"{_load(scaling, inputs)} ask for {verdict.asked}, but more were needed in the last {scaling.window:g} s"
        case "limit":
            return f"{_load(scaling, inputs)} ask for {verdict.asked}, as many are added as one step may"
        case "floor":
            return (
                f"{_load(scaling, inputs)} ask for {verdict.asked}, but {inputs.floor} are held by hand or by an alert"
            )
        case "fixed":
            return "another autoscaler decides" if scaling.handed_over else "the least is the most"
        case "resting":
            return "it rests until a request comes"
        case _:
            return f"{_load(scaling, inputs)} ask for {verdict.asked}"


def numbers(scaling: Scaling, inputs: Inputs, verdict: Verdict, ready: int) -> dict[str, float | int | str]:
    """What a verdict was made from."""
    found: dict[str, float | int | str] = {
        "type": scaling.kind,
        "target": scaling.target,
        "proportion": scaling.proportion,
        "asked": verdict.asked,
        "ready": ready,
    }
    if inputs.load is not None:
        found["load"] = round(inputs.load, 3)
    if verdict.rule == "idle":
        found["idle"] = round(inputs.idle, 3)
    if inputs.floor:
        found["floor"] = inputs.floor
    return found


def _load(scaling: Scaling, inputs: Inputs) -> str:
    unit = _UNITS.get(scaling.kind, f"of {scaling.kind}")
    return f"{inputs.load or 0:.4g} {unit} at {scaling.each:g} a replica"
