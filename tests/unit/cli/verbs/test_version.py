"""`penstock version`."""

from __future__ import annotations

import json

import penstock
from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli

INFO = {
    "provider": {"provider": "penstock-process", "orchestration": "local", "version": {"release": "1.2", "sha": "p"}},
    "version": {"release": "3.4", "sha": "g"},
    "arch": "x86_64",
}


def test_client_gateway_and_provider_are_shown(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/info", answer_json(INFO))
    words = run_cli("version").stdout.split()
    assert words[:3] == ["CLI", "version:", penstock.__version__]
    assert all(word in words for word in (gateway.url, "3.4", "g", "penstock-process", "local", "1.2"))


def test_json_has_both(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/info", answer_json(INFO))
    assert json.loads(run_cli("version", "-j").stdout) == {"client": {"version": penstock.__version__}, "gateway": INFO}


def test_a_saved_token_is_sent(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/info", answer_json(INFO))
    run_cli("version", "-k", "abc")
    assert gateway.requests[0].headers["Authorization"] == "Bearer abc"


def test_short_version_asks_nobody(gateway: ScriptedGateway) -> None:
    assert run_cli("version", "--short-version").stdout == f"{penstock.__version__}\n"
    assert gateway.requests == []


def test_without_a_usable_gateway_the_client_is_still_shown(gateway: ScriptedGateway) -> None:
    for answer in (
        Answer(401),
        Answer(500),
        Answer(200, b"not json"),
        answer_json(None),
        answer_json({"provider": None}),
    ):
        gateway.on("GET /system/info", answer)
        result = run_cli("version")
        assert result.exit_code == 0
        assert result.stdout.startswith(f"CLI\n version: {penstock.__version__}\n")


def test_a_search_for_updates_can_be_turned_off_since_there_is_none(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/info", answer_json(INFO))
    for flag in ("--warn-update", "--warn-update=false"):
        assert run_cli("version", flag).exit_code == 0
    assert gateway.lines == ["GET /system/info"] * 2
