"""The dashboard and the rules that are shipped name only metrics that there are, and files that are shipped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.autoscaler.journal import Decision, Journal
from penstock.autoscaler.usage import UsageSampler
from penstock.control.metricfamilies import ALERT_RESULTS, DeedsOfScaler, SettingsOfScaling, UseOfFunctions
from penstock.control.metrics import Totals, exposition
from penstock.control.requestmetrics import RequestMetrics
from penstock.control.routing import Resource
from penstock.gateway.messages import LATENCY_BUCKETS, Completed, Counters
from penstock.model import Function, FunctionSpec, Replica
from penstock.testing.clock import FakeClock

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "penstock.json"
RULES = sorted((DEPLOY / "prometheus").glob("*.rules.yml"))
NAME = re.compile(r"\b(?:gateway|penstock|http|job|pod|provider|queue)[_:][a-z_:]+\b")
KEY = "f.openfaas-fn"
CAPACITY = "c.openfaas-fn"
BY_CAPACITY = FunctionSpec(name="c", labels={"com.openfaas.scale.type": "capacity"})
BORN = datetime(2026, 1, 1, tzinfo=UTC)


class Everything:
    """A gateway with something to say in each family, and more of it with each call of `grow`."""

    def __init__(self) -> None:
        self.totals = Totals()
        replica = Replica(id="r", state="ready", address="unix:/r")
        self.functions = {
            KEY: Function(spec=FunctionSpec(name="f"), desired=1, replicas=(replica,), created_at=BORN),
            CAPACITY: Function(spec=BY_CAPACITY, desired=1, replicas=(replica,), created_at=BORN),
            "resting": Function(spec=FunctionSpec(name="r"), desired=0, created_at=BORN),
        }
        self.journal = Journal()
        self.leader, self.ticks, self.tick_seconds = True, 0, 0.0
        self.alerts = dict.fromkeys(ALERT_RESULTS, 0)
        self.requests = RequestMetrics([Resource("/system/info", {})])
        self.grow()

    def grow(self) -> None:
        for key in (KEY, CAPACITY):
            for code in (200, 500):
                buckets = [1] * (len(LATENCY_BUCKETS) + 1)
                done = Completed(key=key, code=code, count=len(buckets), seconds=1.0, buckets=buckets)
                self.totals.add(Counters(started={key: done.count}, completed=[done]))
        self.journal.note(KEY, Decision(when=BORN, rule="load", before=1, after=2, reason="a test"))
        self.ticks, self.tick_seconds = self.ticks + 1, self.tick_seconds + 0.1
        self.alerts = {result: count + 1 for result, count in self.alerts.items()}
        self.requests._count("GET", "/system/info", 200, 0.1)

    def inflight(self) -> dict[str, int]:
        return {KEY: 1, CAPACITY: 1}

    def connections(self) -> dict[int, int]:
        return {0: 1}

    async def page(self) -> bytes:
        """What a scrape gets."""
        sampler = UsageSampler(NoProvider(), self.functions, FakeClock())
        more = (SettingsOfScaling(self.functions), UseOfFunctions(self.functions, sampler), self.requests)
        return await exposition(self, *(each.lines for each in more), DeedsOfScaler(self).lines)


class NoProvider:
    """Measures nothing; a function without replicas uses nothing all the same."""

    async def usages(self, keys: Any) -> dict[str, Any]:
        return {}


async def exposed() -> dict[str, set[str]]:
    """The names of all series, each with the labels that it has."""
    text = await Everything().page()
    series: dict[str, set[str]] = {}
    for line in text.decode().splitlines():
        # Not by the parser of prometheus-client, which adds `_total` to the names of counters.
        if found := re.match(r"([a-z_]+)(?:\{(.*)\})? ", line):
            series.setdefault(found[1], set()).update(re.findall(r'(\w+)="', found[2] or ""))
    return series


def expressions() -> Iterator[str]:
    """Of the dashboard and of all rules."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from (rule["expr"] for rule in group["rules"])


async def test_every_metric_of_dashboard_and_rules_is_one_that_control_exposes() -> None:
    named = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(named) > 15
    assert named - set(await exposed()) == set()


async def test_series_are_chosen_by_labels_that_they_have() -> None:
    series = await exposed()
    for expression in expressions():
        for name, selector in re.findall(r"\b([a-z_]+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)=~?\"", selector)) <= series[name], expression


def test_the_dashboard_is_for_any_source_of_data_and_any_function() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables.keys() == {"datasource", "function"}
    assert "gateway_service_count" in variables["function"]["definition"]
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["title"] and panel["description"]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_recorded_series_have_the_names_that_the_original_gives_them() -> None:
    document = yaml.safe_load((DEPLOY / "prometheus" / "recording.rules.yml").read_text())
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    recorded = [(rule["record"], rule.get("labels", {}).get("scaling_type")) for rule in rules]
    load = "job:function_current_load:sum"
    assert recorded == [
        (load, "rps"),
        (load, "capacity"),
        (load, "cpu"),
        ("job:function_current_started:max_sum", None),
    ]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_every_file_of_rules_is_read_on_a_swarm_too(path: Path) -> None:
    assert path.name in yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["rule_files"]
    stack = yaml.safe_load((DEPLOY / "swarm" / "monitoring.yml").read_text())
    sources = {config["target"]: config["source"] for config in stack["services"]["prometheus"]["configs"]}
    assert stack["configs"][sources[f"/etc/prometheus/{path.name}"]]["file"] == f"../prometheus/{path.name}"
