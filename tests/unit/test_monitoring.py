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
from penstock.control.metricfamilies import DeedsOfScaler, SettingsOfScaling, UseOfFunctions
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
BORN = datetime(2026, 1, 1, tzinfo=UTC)


class Everything:
    """A gateway with something to say in each family."""

    def __init__(self) -> None:
        self.totals = Totals()
        buckets = [1] * (len(LATENCY_BUCKETS) + 1)
        done = Completed(key=KEY, code=200, count=12, seconds=1.0, buckets=buckets)
        self.totals.add(Counters(started={KEY: 12}, completed=[done]))
        replica = Replica(id="r", state="ready", address="unix:/r")
        function = Function(spec=FunctionSpec(name="f"), desired=1, replicas=(replica,), created_at=BORN)
        self.functions = {KEY: function, "resting": Function(spec=FunctionSpec(name="r"), desired=0, created_at=BORN)}
        self.journal = Journal()
        self.journal.note(KEY, Decision(when=BORN, rule="load", before=1, after=2, reason="a test"))
        self.leader, self.ticks, self.tick_seconds = True, 1, 0.1
        self.alerts = {"scaled": 1}

    def inflight(self) -> dict[str, int]:
        return {KEY: 1}

    def connections(self) -> dict[int, int]:
        return {0: 1}


class NoProvider:
    """Measures nothing; a function without replicas uses nothing all the same."""

    async def usages(self, keys: Any) -> dict[str, Any]:
        return {}


async def exposed() -> dict[str, set[str]]:
    """The names of all series, each with the labels that it has."""
    everything = Everything()
    requests = RequestMetrics([Resource("/system/info", {})])
    requests._count("GET", "/system/info", 200, 0.1)
    sampler = UsageSampler(NoProvider(), everything.functions, FakeClock())
    more = (SettingsOfScaling(everything.functions), UseOfFunctions(everything.functions, sampler), requests)
    text = await exposition(everything, *(each.lines for each in more), DeedsOfScaler(everything).lines)
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
