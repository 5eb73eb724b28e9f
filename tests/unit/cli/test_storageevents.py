"""`penstock storage events`, `redrive` and `events-token`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.support import Answer, ScriptedGateway, answer_json, run_cli

DELIVERIES: dict[str, Any] = {
    "pending": 3,
    "inFlight": 1,
    "dead": 7,
    "givenUp": [
        {
            "callId": "c1",
            "function": "small.openfaas-fn",
            "event": "s3:ObjectCreated:Put",
            "object": "s3://inbox/a%20b.jpg",
            "attempts": 10,
            "reason": "500: no \x1b[31mroom\x1b[0m left",
            "accepted": "2026-01-01T00:00:00Z",
            "givenUp": "2026-01-01T00:09:00Z",
        }
    ],
}
LISTED = "GET /system/storage/deliveries?limit=100"


def test_what_waits_and_what_was_given_up_is_shown(gateway: ScriptedGateway) -> None:
    gateway.on(LISTED, answer_json(DELIVERIES))
    result = run_cli("storage", "events")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split() for line in lines[:3]] == [["Pending:", "3"], ["In", "flight:", "1"], ["Given", "up:", "7"]]
    assert [word.strip() for word in lines[4].split("\t")] == [
        "GIVEN UP", "FUNCTION", "EVENT", "OBJECT", "ATTEMPTS", "REASON",
    ]  # fmt: skip
    cells = [word.strip() for word in lines[5].split("\t")]
    assert cells[:5] == [
        "2026-01-01T00:09:00Z", "small.openfaas-fn", "s3:ObjectCreated:Put", "s3://inbox/a%20b.jpg", "10",
    ]  # fmt: skip
    assert "room" in cells[5]
    assert "\x1b" not in result.stdout


def test_where_nothing_was_given_up_there_is_no_table(gateway: ScriptedGateway) -> None:
    gateway.on(LISTED, answer_json({"pending": 0, "inFlight": 0, "dead": 0, "givenUp": []}))
    assert len(run_cli("storage", "events").stdout.splitlines()) == 3


@pytest.mark.parametrize("flags", (["--output", "json"], ["-j"]))
def test_json_is_the_gateways_own(gateway: ScriptedGateway, flags: list[str]) -> None:
    gateway.on(LISTED, answer_json(DELIVERIES))
    assert json.loads(run_cli("storage", "events", *flags).stdout) == DELIVERIES


def test_how_many_are_shown_is_asked_of_the_gateway(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/storage/deliveries?limit=5", answer_json(DELIVERIES))
    assert run_cli("storage", "events", "--limit", "5").exit_code == 0


@pytest.mark.parametrize("limit", ("0", "1001", "-1", "many"))
def test_a_number_that_cannot_be_is_refused(gateway: ScriptedGateway, limit: str) -> None:
    assert run_cli("storage", "events", "--limit", limit).exit_code == 2
    assert gateway.requests == []


def test_what_was_given_up_is_made_once_more(gateway: ScriptedGateway) -> None:
    gateway.on("POST /system/storage/deliveries/redrive", answer_json({"redriven": 7}, 202))
    result = run_cli("storage", "redrive")
    assert (result.exit_code, result.stdout) == (0, "Redriven: 7 deliveries\n")


def test_the_token_alone_comes_to_stdout(gateway: ScriptedGateway) -> None:
    gateway.on("GET /system/storage/events/token", answer_json({"user": "events", "token": "abc"}))
    result = run_cli("storage", "events-token")
    assert (result.exit_code, result.stdout) == (0, "abc\n")


@pytest.mark.parametrize(
    ("verb", "line"),
    (
        ("events", LISTED),
        ("redrive", "POST /system/storage/deliveries/redrive"),
        ("events-token", "GET /system/storage/events/token"),
    ),
)
@pytest.mark.parametrize(
    ("answer", "words"),
    (
        (Answer(501, b"object storage is off: name the buckets\n"), "object storage is off"),
        (Answer(503, b"the functions are not known yet: try again\n"), "not known yet"),
        (Answer(202, b"no JSON"), ""),
    ),
    ids=("off", "not yet", "nonsense"),
)
def test_a_gateway_that_cannot_say_it_is_told(
    gateway: ScriptedGateway, verb: str, line: str, answer: Answer, words: str
) -> None:
    gateway.on(line, answer)
    result = run_cli("storage", verb)
    assert result.exit_code == 1
    assert words in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("body", (b"[]", b"null", b'{"givenUp": 1}', b'{"pending": "x"}', b"\xff"))
def test_an_answer_of_another_shape_is_an_error_in_one_line(gateway: ScriptedGateway, body: bytes) -> None:
    gateway.on(LISTED, Answer(200, body))
    result = run_cli("storage", "events")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
