"""Loads from a real Prometheus, of Debian's package: what it is, what it refuses, and when it has gone."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.autoscaler.peers import new_session
from penstock.autoscaler.prometheus import PrometheusLoads
from penstock.core.scalelabels import Scaling
from penstock.providers.clock import SystemClock
from tests.integration.prometheus import prometheus_in, ready, until

RULES = """\
groups:
  - name: loads
    interval: 1s
    rules:
      - record: job:function_current_load:sum
        expr: label_replace(label_replace(vector(42), "function_name", "a.dev", "", ""), "scaling_type", "jobs", "", "")
"""


@pytest.fixture
def program(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    (tmp_path / "rules.yml").write_text(RULES)
    (tmp_path / "prometheus.yml").write_text("rule_files: [rules.yml]\n")
    with prometheus_in(tmp_path) as process:
        yield process


@pytest.mark.service("prometheus")
async def test_a_real_prometheus_is_understood(program: subprocess.Popen[bytes]) -> None:
    loads = PrometheusLoads(f"http://127.0.0.1:{await ready(program)}", SystemClock(), new_session)
    expressions = {
        "sum": 'label_replace(vector(2), "a", "{{function}}", "", "") or vector(3)',
        "one": "scalar(vector(7))",
        "none": "missing_series",
        "nan": "vector(0) / 0",
        "bad": "sum(",
        "text": '"seven"',
        "range": "up[5m]",
    }
    wanted = {f"{name}.dev": Scaling(kind="query", query=query) for name, query in expressions.items()}
    loads.watch({**wanted, "a.dev": Scaling(kind="jobs")})
    task = asyncio.create_task(loads.run())
    try:
        await until(lambda: loads.value("a.dev") == 42 and not loads.fault)
        assert loads.fault == ""
        assert {name: loads.value(f"{name}.dev") for name in expressions} == {
            "sum": 5.0, "one": 7.0, "none": None, "nan": None, "bad": None, "text": None, "range": None,
        }  # fmt: skip
        assert "parse error" in loads.why("bad.dev")
        assert "no sample" in loads.why("none.dev")
        program.terminate()
        await until(lambda: loads.fault)
        assert loads.value("a.dev") is None
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
