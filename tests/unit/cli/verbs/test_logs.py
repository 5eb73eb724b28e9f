"""`penstock logs`: the query it sends and the three forms in which lines are shown."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.cli.support import Answer, ScriptedGateway, run_cli

LINE = {
    "name": "words",
    "namespace": "ns",
    "instance": "w-1",
    "timestamp": "2026-01-02T03:04:05.123456789Z",
    "text": "hi",
}
DEFAULT = "GET /system/logs?name=words&follow=true&tail=-1"


def lines(*messages: dict[str, str]) -> Answer:
    return Answer(200, b"".join(json.dumps(message).encode() + b"\n" for message in messages))


def test_default_follows_and_prints_time_and_text(gateway: ScriptedGateway) -> None:
    gateway.on(DEFAULT, lines(LINE, {**LINE, "text": "with end\n"}))
    assert run_cli("logs", "words").stdout == "2026-01-02T03:04:05Z hi\n2026-01-02T03:04:05Z with end\n"


def test_name_and_instance_are_shown_on_request(gateway: ScriptedGateway) -> None:
    gateway.on(DEFAULT, lines(LINE))
    assert run_cli("logs", "words", "--name", "--instance").stdout == "2026-01-02T03:04:05Z words (w-1) hi\n"


def test_keyvalue_has_the_layout_of_faas_cli(gateway: ScriptedGateway) -> None:
    gateway.on(DEFAULT, lines(LINE))
    text = run_cli("logs", "words", "-o", "keyvalue", "--name", "--instance").stdout
    assert text == 'timestamp="2026-01-02T03:04:05Z" name="words" instance="w-1" text="hi" \n'


@pytest.mark.parametrize("flag", [("--output", "json"), ("-j",)])
def test_json_passes_lines_on(gateway: ScriptedGateway, flag: tuple[str, ...]) -> None:
    gateway.on(DEFAULT, lines(LINE))
    assert json.loads(run_cli("logs", "words", *flag).stdout) == LINE


def test_flags_reach_the_query(gateway: ScriptedGateway) -> None:
    run_cli("logs", "words", "--tail=false", "--lines", "5", "-n", "staging", "--since-time", "2026-01-01T00:00:00Z")
    query = "name=words&follow=false&tail=5&since=2026-01-01T00:00:00Z&namespace=staging"
    assert gateway.lines == [f"GET /system/logs?{query}"]


def test_since_is_counted_back_from_now(gateway: ScriptedGateway) -> None:
    run_cli("logs", "words", "--since", "1h")
    since = datetime.fromisoformat(parse_qs(urlsplit(gateway.requests[0].target).query)["since"][0])
    assert timedelta(minutes=59) < datetime.now(UTC) - since < timedelta(minutes=70)


def test_very_long_and_empty_lines_pass(gateway: ScriptedGateway) -> None:
    long = {**LINE, "text": "x" * 300000}
    gateway.on(DEFAULT, Answer(200, b"\n" + json.dumps(long).encode() + b"\n\n"))
    assert len(run_cli("logs", "words").stdout) == 300000 + len("2026-01-02T03:04:05Z \n")


def test_control_characters_do_not_reach_the_terminal(gateway: ScriptedGateway) -> None:
    gateway.on(DEFAULT, lines({**LINE, "text": "a\tb\x1b[31m"}))
    assert run_cli("logs", "words").stdout.endswith(" a\tb\ufffd[31m\n")


def test_a_line_that_is_no_json_is_an_error(gateway: ScriptedGateway) -> None:
    gateway.on(DEFAULT, Answer(200, b"oops\n"))
    result = run_cli("logs", "words")
    assert result.exit_code == 1
    assert "not JSON" in result.stderr


def test_a_stream_cut_short_is_an_error_after_what_came(gateway: ScriptedGateway) -> None:
    answer = lines(LINE)
    gateway.on(DEFAULT, Answer(200, answer.body, cut=True))
    result = run_cli("logs", "words")
    assert (result.exit_code, result.stdout) == (1, "2026-01-02T03:04:05Z hi\n")


@pytest.mark.parametrize(("status", "code"), [(404, 1), (401, 4), (422, 2), (500, 1)])
def test_refusals_have_their_exit_codes(gateway: ScriptedGateway, status: int, code: int) -> None:
    gateway.on(DEFAULT, Answer(status, b"because"))
    assert run_cli("logs", "words").exit_code == code


@pytest.mark.parametrize(
    "flags", [("--since", "soon"), ("--since-time", "noon"), ("--since-time", "2026-01-01"), ("--time-format", ""),
              ("--since", "1h", "--since-time", "2026-01-01T00:00:00Z"), ("--lines", "x"), ("-o", "xml")],
)  # fmt: skip
def test_bad_flags_are_refused_before_any_request(gateway: ScriptedGateway, flags: tuple[str, ...]) -> None:
    assert run_cli("logs", "words", *flags).exit_code == 2
    assert gateway.requests == []
