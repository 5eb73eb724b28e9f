from __future__ import annotations

import json

import pytest

from bench.report import Finding, Verdict, as_json, as_markdown, judge, table

FINDING = Finding(
    "relay", "requests/s | p99", "≥ 0.6", "0.87", "met", {"ratios": [0.8612345678, 0.88], "runs": 2}, ("How.",)
)


@pytest.mark.parametrize(
    ("value", "limits", "verdict"),
    [
        (0.6, {"at_least": 0.6}, "met"),
        (0.59, {"at_least": 0.6}, "missed"),
        (2.0, {"at_most": 2.0}, "met"),
        (2.1, {"at_most": 2.0}, "missed"),
    ],
)
def test_a_limit_itself_is_met(value: float, limits: dict[str, float], verdict: Verdict) -> None:
    assert judge(value, **limits) == verdict


def test_what_is_no_number_is_missed() -> None:
    assert judge(float("nan"), at_least=0.6) == "missed"


def test_bars_in_cells_do_not_break_the_table() -> None:
    assert table([FINDING])[-1] == "| relay | requests/s \\| p99 | ≥ 0.6 | 0.87 | met |"


def test_a_number_without_a_target_shows_a_dash() -> None:
    assert table([Finding("relay", "x", "", "1", "info")])[-1] == "| relay | x | - | 1 | info |"


def test_a_row_over_several_lines_stays_one_row_of_the_table() -> None:
    assert len(table([Finding("relay", "x", "", "two\nlines", "info")])) == 3


def test_markdown_carries_machine_table_notes_and_numbers() -> None:
    text = as_markdown({"kernel": "Linux 6"}, [FINDING])
    for part in (
        "- kernel: Linux 6",
        "| relay |",
        "## relay: requests/s",
        "How.",
        "- ratios: 0.861235, 0.88",
        "- runs: 2",
    ):
        assert part in text


def test_json_carries_the_same_with_rounded_numbers() -> None:
    document = json.loads(as_json({"kernel": "Linux 6"}, [FINDING]))
    assert document["machine"] == {"kernel": "Linux 6"}
    assert document["rows"][0]["numbers"] == {"ratios": [0.861235, 0.88], "runs": 2}
    assert document["rows"][0]["verdict"] == "met"
