"""`penstock health`."""

from __future__ import annotations

import pytest

from penstock.cli.verbs.health import metrics_url
from penstock.errors import InvalidInput
from tests.unit.cli.support import Answer, ScriptedGateway, refusing, run_cli


def at(gateway: ScriptedGateway) -> str:
    return gateway.url.rpartition(":")[2]


def test_a_healthy_gateway_is_0(gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway.on("GET /healthz", Answer(200, b"OK"))
    monkeypatch.setenv("PENSTOCK_METRICS_PORT", at(gateway))
    result = run_cli("health")
    assert (result.exit_code, result.stdout) == (0, "healthy\n")


def test_an_unhealthy_one_is_3_and_says_what_it_answered(
    gateway: ScriptedGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.on("GET /healthz", Answer(503))
    monkeypatch.setenv("PENSTOCK_METRICS_PORT", at(gateway))
    result = run_cli("health")
    assert result.exit_code == 3
    assert "it answered 503 to /healthz" in result.stderr


def test_another_gateway_may_be_asked(gateway: ScriptedGateway) -> None:
    gateway.on("GET /base/healthz", Answer(200))
    assert run_cli("health", "--gateway", f"{gateway.url}/base/").exit_code == 0
    assert "Authorization" not in gateway.requests[0].headers


def test_nobody_there_is_3() -> None:
    with refusing() as url:
        result = run_cli("health", "-g", url)
    assert result.exit_code == 3
    assert "no gateway answers at" in result.stderr


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({}, "http://127.0.0.1:8082"),
        ({"PENSTOCK_HOST": "0.0.0.0", "PENSTOCK_METRICS_PORT": "9000"}, "http://127.0.0.1:9000"),
        ({"PENSTOCK_HOST": "::"}, "http://[::1]:8082"),
        ({"PENSTOCK_HOST": "fd00::1"}, "http://[fd00::1]:8082"),
        ({"PENSTOCK_HOST": "10.0.0.7"}, "http://10.0.0.7:8082"),
    ],
)
def test_it_asks_where_a_gateway_of_this_environment_would_listen(environ: dict[str, str], url: str) -> None:
    assert metrics_url(environ) == url


@pytest.mark.parametrize("port", ["0", "65536", "http", "-1", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_a_port_that_is_none_is_refused(port: str) -> None:
    with pytest.raises(InvalidInput, match="PENSTOCK_METRICS_PORT"):
        metrics_url({"PENSTOCK_METRICS_PORT": port})
