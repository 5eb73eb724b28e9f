"""Metrics of scaling, word for word."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from penstock.autoscaler.journal import Decision, Journal
from penstock.autoscaler.usage import UsageSampler
from penstock.control import metricfamilies
from penstock.control.metricfamilies import DeedsOfScaler, SettingsOfScaling, UseOfFunctions
from penstock.model import Function, FunctionSpec, Usage
from penstock.testing.clock import FakeClock

BORN = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "f.openfaas-fn"


class Scaler:
    """What a scaler has done, written down."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.leader = True
        self.ticks = 3
        self.tick_seconds = 0.125
        self.alerts = {"scaled": 2, "unnamed": 1}


class KnowingSampler(UsageSampler):
    def __init__(self, known: dict[str, Usage]) -> None:
        super().__init__(object(), {}, FakeClock())
        self.known = known

    def usage(self, key: str) -> Usage | None:
        return self.known.get(key)


def function(name: str = "f", **labels: str) -> Function:
    spec = FunctionSpec(name=name, labels={f"com.openfaas.scale.{word}": value for word, value in labels.items()})
    return Function(spec=spec, desired=1, created_at=BORN)


def test_what_a_function_asks_for_by_its_labels_and_what_it_gets_without_any() -> None:
    asking = function(min="2", max="9", type="capacity", target="2.5")
    plain = function("plain")
    settings = SettingsOfScaling({plain.key: plain, asking.key: asking})
    assert list(settings.lines()) == [
        "# HELP gateway_service_target_load Load that one replica is to have at most.",
        "# TYPE gateway_service_target_load gauge",
        'gateway_service_target_load{function_name="f.openfaas-fn",scaling_type="capacity"} 2.5',
        'gateway_service_target_load{function_name="plain.openfaas-fn",scaling_type="rps"} 50',
        "# HELP gateway_service_min Least replicas of the function, unless it is at zero.",
        "# TYPE gateway_service_min gauge",
        'gateway_service_min{function_name="f.openfaas-fn"} 2',
        'gateway_service_min{function_name="plain.openfaas-fn"} 1',
        "# HELP gateway_service_max Most replicas of the function.",
        "# TYPE gateway_service_max gauge",
        'gateway_service_max{function_name="f.openfaas-fn"} 9',
        'gateway_service_max{function_name="plain.openfaas-fn"} 20',
    ]


def test_a_label_that_cannot_be_used_is_shown_as_what_is_used_in_its_place() -> None:
    bad = function(target="none")
    assert f'gateway_service_target_load{{function_name="{KEY}",scaling_type="rps"}} 50' in list(
        SettingsOfScaling({KEY: bad}).lines()
    )


def test_labels_are_read_again_only_when_they_have_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = {KEY: function(max="5")}
    settings = SettingsOfScaling(functions)
    list(settings.lines())
    with monkeypatch.context() as patch:
        patch.delattr(metricfamilies, "usable_scaling")
        functions[KEY] = function(max="5")
        assert f'gateway_service_max{{function_name="{KEY}"}} 5' in list(settings.lines())
    functions[KEY] = function(max="6")
    assert f'gateway_service_max{{function_name="{KEY}"}} 6' in list(settings.lines())
    del functions[KEY]
    assert not [line for line in settings.lines() if KEY in line]
    assert settings._read == {}


def test_what_functions_use_and_nothing_where_it_is_not_known() -> None:
    functions = {one.key: one for one in (function(), function("unknown"))}
    use = UseOfFunctions(functions, KnowingSampler({KEY: Usage(cpu_millis=250.12345, memory_bytes=1048576)}))
    assert list(use.lines()) == [
        "# HELP penstock_function_cpu_millis Processor time that replicas use together, without their starts, in thousandths of a core.",
        "# TYPE penstock_function_cpu_millis gauge",
        'penstock_function_cpu_millis{function_name="f.openfaas-fn"} 250.123',
        "# HELP penstock_function_memory_bytes Memory that all replicas use together.",
        "# TYPE penstock_function_memory_bytes gauge",
        'penstock_function_memory_bytes{function_name="f.openfaas-fn"} 1048576',
    ]


def test_what_the_scaler_has_done() -> None:
    scaler = Scaler()
    for rule in ("load", "load", "alert"):
        scaler.journal.note(KEY, Decision(when=BORN, rule=rule, before=1, after=2, reason="a test"))
    assert list(DeedsOfScaler(scaler).lines()) == [
        "# HELP penstock_scaling_decisions_total Decisions about replicas, by what decided.",
        "# TYPE penstock_scaling_decisions_total counter",
        'penstock_scaling_decisions_total{function_name="f.openfaas-fn",rule="alert"} 1',
        'penstock_scaling_decisions_total{function_name="f.openfaas-fn",rule="load"} 2',
        "# HELP penstock_alerts_total Alerts of Alertmanager, by what became of them.",
        "# TYPE penstock_alerts_total counter",
        'penstock_alerts_total{result="scaled"} 2',
        'penstock_alerts_total{result="unchanged"} 0',
        'penstock_alerts_total{result="unnamed"} 1',
        'penstock_alerts_total{result="unknown"} 0',
        'penstock_alerts_total{result="failed"} 0',
        "# HELP penstock_scaling_tick_seconds Time to decide about all functions once.",
        "# TYPE penstock_scaling_tick_seconds summary",
        "penstock_scaling_tick_seconds_sum 0.125",
        "penstock_scaling_tick_seconds_count 3",
        "# HELP penstock_scaling_leader Whether this gateway decides for the installation.",
        "# TYPE penstock_scaling_leader gauge",
        "penstock_scaling_leader 1",
    ]


def test_a_name_that_an_alert_gave_is_escaped() -> None:
    scaler = Scaler()
    scaler.journal.note('a"b\\\n', Decision(when=BORN, rule="alert", before=0, after=0, reason="a test"))
    assert r'penstock_scaling_decisions_total{function_name="a\"b\\\n",rule="alert"} 1' in list(
        DeedsOfScaler(scaler).lines()
    )


def test_a_pipeline_asks_for_no_replicas_and_uses_nothing() -> None:
    pipeline = Function(spec=FunctionSpec(name="p", stages=("f",)), desired=0, created_at=BORN)
    functions = {pipeline.key: pipeline}
    lines = [
        *SettingsOfScaling(functions).lines(),
        *UseOfFunctions(functions, KnowingSampler({pipeline.key: Usage()})).lines(),
    ]
    assert all(line.startswith("#") for line in lines)
