"""The files for Prometheus that are shipped, as Prometheus' own tool reads them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
FUNCTION = 'function_name="f.openfaas-fn"'

pytestmark = pytest.mark.service("prometheus")


def promtool(*arguments: str | Path) -> None:
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.rules.yml")), ids=lambda path: path.name)
def test_rules_are_valid(path: Path) -> None:
    promtool("check", "rules", path)


def test_the_configuration_and_all_that_it_names_are_valid() -> None:
    promtool("check", "config", SHIPPED / "prometheus.yml")


def loads(target: str, *series: tuple[str, str]) -> dict[str, Any]:
    """Given these series, one sample every five seconds, and the target of a function."""
    given = [{"series": f"{name}{{{FUNCTION}}}", "values": values} for name, values in series]
    aim = {"series": f'gateway_service_target_load{{{FUNCTION},scaling_type="{target}"}}', "values": "50+0x40"}
    return {"interval": "5s", "input_series": [*given, aim]}


def expecting(test: dict[str, Any], expression: str, *samples: tuple[str, float]) -> dict[str, Any]:
    told = [{"labels": labels, "value": value} for labels, value in samples]
    return {**test, "promql_expr_test": [{"expr": expression, "eval_time": "2m", "exp_samples": told}]}


def test_what_is_recorded_is_the_load_by_which_a_function_is_scaled(tmp_path: Path) -> None:
    load = "job:function_current_load:sum"
    busy = (
        ("gateway_function_invocation_total", "0+100x40"),
        ("gateway_function_invocation_inflight", "7+0x40"),
        ("penstock_function_cpu_millis", "640.5+0x40"),
    )
    tests = [
        expecting(loads(kind, *busy), load, (f'{load}{{{FUNCTION},scaling_type="{kind}"}}', value))
        for kind, value in (("rps", 20.0), ("capacity", 7.0), ("cpu", 641.0))
    ]
    started = "job:function_current_started:max_sum"
    called = loads("rps", ("gateway_function_invocation_started", "0+5x40"))
    tests.append(expecting(called, started, (f"{started}{{{FUNCTION}}}", 1.0)))
    tests.append(expecting(loads("rps", ("gateway_function_invocation_started", "5+0x40")), started))
    written = tmp_path / "tests.yml"
    rules = [str(SHIPPED / "recording.rules.yml")]
    written.write_text(yaml.safe_dump({"rule_files": rules, "evaluation_interval": "5s", "tests": tests}))
    promtool("test", "rules", written)
