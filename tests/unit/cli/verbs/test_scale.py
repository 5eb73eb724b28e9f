"""`penstock scale`."""

from __future__ import annotations

import pytest

from tests.unit.cli.support import Answer, ScriptedGateway, run_cli


def test_replicas_go_into_the_body(gateway: ScriptedGateway) -> None:
    gateway.on("POST /system/scale-function/words", Answer(202))
    assert run_cli("scale", "words", "0", "-n", "staging").exit_code == 0
    assert gateway.requests[0].json == {"serviceName": "words", "replicas": 0, "namespace": "staging"}


@pytest.mark.parametrize("replicas", ["-1", "many", "1.5", ""])
def test_what_is_no_number_is_refused(gateway: ScriptedGateway, replicas: str) -> None:
    assert run_cli("scale", "words", "--", replicas).exit_code == 2
    assert gateway.requests == []


def test_a_missing_function_exits_1(gateway: ScriptedGateway) -> None:
    assert run_cli("scale", "ghost", "1").exit_code == 1
