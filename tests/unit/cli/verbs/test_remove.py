"""`penstock remove`."""

from __future__ import annotations

from tests.unit.cli.support import Answer, ScriptedGateway, run_cli


def test_name_and_namespace_go_into_the_body(gateway: ScriptedGateway) -> None:
    gateway.on("DELETE /system/functions", Answer(202))
    result = run_cli("remove", "words", "-n", "staging")
    assert gateway.requests[0].json == {"functionName": "words", "namespace": "staging"}
    assert result.stdout == "Deleting: words.staging\nRemoving old function.\n"


def test_without_a_namespace_none_is_sent(gateway: ScriptedGateway) -> None:
    gateway.on("DELETE /system/functions", Answer(202))
    assert run_cli("rm", "words").stdout.startswith("Deleting: words\n")
    assert gateway.requests[0].json == {"functionName": "words"}


def test_several_functions_are_removed_in_order(gateway: ScriptedGateway) -> None:
    gateway.on("DELETE /system/functions", Answer(202))
    run_cli("remove", "a", "b")
    assert [request.json["functionName"] for request in gateway.requests] == ["a", "b"]


def test_a_missing_function_exits_1(gateway: ScriptedGateway) -> None:
    result = run_cli("remove", "ghost")
    assert result.exit_code == 1
    assert "there is no function 'ghost'" in result.stderr
