"""Draws the plots of docs/explanation/scaling.md from `tools.simulate_scaling`, and writes the numbers behind them beside.

Run as `python -m tools.plot_scaling`; a unit test fails when `numbers.json` is not what the rules give now.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from penstock.core.scalelabels import Scaling
from tools import scaling_traces as traces
from tools.simulate_scaling import Moment, Setting, changes, follow_alerts, follow_load, overshoot

FOLDER = Path(__file__).parents[1] / "docs" / "explanation" / "scaling"
NUMBERS = "numbers.json"

POINTS = 240
"""Of the curve of a load; more cannot be told apart, and a file would be large."""


@dataclass(frozen=True)
class Scenario:
    """One plot."""

    name: str
    title: str
    trace: traces.Trace
    setting: Setting
    alerts: bool = True
    """Whether the way by alerts is drawn too."""


RPS = Setting(Scaling(target=20, proportion=1))
IN_FLIGHT = Setting(Scaling(kind="capacity", target=1, proportion=1))
RESTING = Setting(Scaling(target=20, proportion=1, zero=True, zero_after=60))


@cache
def scenarios() -> tuple[Scenario, ...]:
    """All plots. Drawing the calls of a day at random takes seconds, so that they are made when they are wanted."""
    return (
        Scenario("step", "1, then 200 requests a second of 50 ms; capacity", traces.step(1, 200, 60, 300), IN_FLIGHT),
        Scenario("threshold", "6 requests a second, all the time; rps", (6,) * 600, RPS),
        Scenario("ramp", "a ramp to 200 requests a second and back; rps", traces.ramp(0, 200, 600), RPS),
        Scenario("sine", "100 ± 80 requests a second; rps", traces.sine(100, 80, 120, 600), RPS),
        Scenario("spikes", "5 seconds of 200 requests in each minute; rps", traces.spikes(10, 200, 60, 5, 300), RPS),
        Scenario("poisson", "90 requests a second at random; rps", traces.poisson(90, 600), RPS, alerts=False),
        Scenario(
            "zero", "3 minutes of calls, then none; scale to zero", traces.step(30, 0, 180, 360), RESTING, alerts=False
        ),
        Scenario("day", "a day of a web site; rps", traces.arrivals(traces.day(), 60), RPS, alerts=False),
    )


def numbers() -> dict[str, dict[str, dict[str, int]]]:
    """By scenario and way: what the page says of it."""
    found = {}
    for scenario in scenarios():
        found[scenario.name] = {"load": summary(follow_load(scenario.trace, scenario.setting), scenario.setting)}
        if scenario.alerts:
            alerts = follow_alerts(scenario.trace, scenario.setting)
            found[scenario.name]["alerts"] = summary(alerts, scenario.setting)
    return found


def summary(moments: Sequence[Moment], setting: Setting) -> dict[str, int]:
    return {
        "most": max(one.desired for one in moments),
        "beyond need": max(0, overshoot(moments, setting.scaling)),
        "changes": changes(moments),
        "replica-seconds": sum(one.desired for one in moments),
        "last": moments[-1].desired,
    }


def draw(scenario: Scenario, folder: Path) -> None:
    """Write NAME.svg: the load above, the replicas below."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": scenario.name, "font.size": 9})
    moments = follow_load(scenario.trace, scenario.setting)
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 3])
    unit = 3600 if len(moments) > 7200 else 1
    above.plot(*_thinned(moments, unit), color="#777777", linewidth=0.9)
    above.set_ylabel("in flight" if scenario.setting.scaling.kind == "capacity" else "requests/s")
    above.set_title(scenario.title, fontsize=10, loc="left")
    if scenario.alerts:
        alerts = follow_alerts(scenario.trace, scenario.setting)
        _steps(below, alerts, "desired", unit, color="#c44e52", linewidth=1, label="desired, by alerts alone")
    _steps(below, moments, "desired", unit, color="#1f5fa8", linewidth=1.6, label="desired, by load")
    _steps(below, moments, "ready", unit, color="#55a868", linewidth=1, linestyle="--", label="ready, by load")
    below.set_ylabel("replicas")
    below.yaxis.get_major_locator().set_params(integer=True)
    below.set_xlabel("hours" if unit > 1 else "seconds")
    below.legend(fontsize=8, loc="best", frameon=False)
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(folder / f"{scenario.name}.svg", metadata={"Date": None})


def _thinned(moments: Sequence[Moment], unit: int) -> tuple[list[float], list[float]]:
    """The load, as means of so many seconds that there are at most `POINTS`."""
    width = -(-len(moments) // POINTS)
    groups = [moments[at : at + width] for at in range(0, len(moments), width)]
    return [group[0].second / unit for group in groups], [
        sum(one.load for one in group) / len(group) for group in groups
    ]


def _steps(axes: Any, moments: Sequence[Moment], name: str, unit: int, **style: Any) -> None:
    """A line through the moments at which the number changed."""
    kept = [
        one
        for at, one in enumerate(moments)
        if at in (0, len(moments) - 1) or getattr(one, name) != getattr(moments[at - 1], name)
    ]
    axes.step([one.second / unit for one in kept], [getattr(one, name) for one in kept], where="post", **style)


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for scenario in scenarios():
        draw(scenario, folder)
    (folder / NUMBERS).write_text(json.dumps(numbers(), indent=1) + "\n")


if __name__ == "__main__":
    main()
