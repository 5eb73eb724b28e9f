"""The text that Prometheus reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from penstock.watchdog.metrics import Metrics


def samples(metrics: Metrics, inflight: int = 0) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render(inflight).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def test_requests_are_counted_by_code_and_lower_case_method() -> None:
    metrics = Metrics()
    metrics.observe(200, b"GET", 0.003)
    metrics.observe(200, b"GET", 0.7)
    metrics.observe(500, b"FOO", 20.0)
    found = samples(metrics, 3)
    get = (("code", "200"), ("method", "get"))
    assert found["http_requests_total", get] == 2
    assert found["http_requests_total", (("code", "500"), ("method", "unknown"))] == 1
    assert found["http_requests_in_flight", ()] == 3
    assert found["http_request_duration_seconds_sum", get] == 0.703


def test_buckets_are_cumulative_and_end_with_all() -> None:
    metrics = Metrics()
    for seconds in (0.005, 0.006, 100.0):
        metrics.observe(200, b"GET", seconds)
    found = samples(metrics)

    def bucket(bound: str) -> float:
        return found["http_request_duration_seconds_bucket", (("code", "200"), ("le", bound), ("method", "get"))]

    assert [bucket("0.005"), bucket("0.01"), bucket("10"), bucket("+Inf")] == [1, 2, 2, 3]


def test_an_invented_method_makes_no_series_of_its_own() -> None:
    metrics = Metrics()
    for number in range(1000):
        metrics.observe(200, b"M%d" % number, 0.0)
    assert metrics.render(0).count(b"http_requests_total{") == 1
