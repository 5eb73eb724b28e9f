"""`penstock token`."""

from __future__ import annotations

from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli


def test_the_token_alone_comes_to_stdout(gateway: ScriptedGateway) -> None:
    answer = answer_json({"name": "words", "namespace": "staging", "token": "abc"})
    gateway.on("GET /system/function/words/token?namespace=staging", answer)
    result = run_cli("token", "words", "-n", "staging")
    assert (result.exit_code, result.stdout) == (0, "abc\n")


def test_a_missing_function_exits_1_and_is_named(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/function/ghost/token", Answer(404))
    result = run_cli("token", "ghost")
    assert result.exit_code == 1
    assert "'ghost'" in result.stderr


def test_a_gateway_without_authentication_says_why_there_is_none(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/function/words/token", Answer(501, b"this gateway runs without authentication\n"))
    result = run_cli("token", "words")
    assert result.exit_code == 1
    assert "without authentication" in result.stderr


def test_a_name_that_is_no_segment_is_refused(gateway: ScriptedGateway) -> None:
    assert run_cli("token", "../secrets").exit_code == 2
    assert gateway.requests == []
