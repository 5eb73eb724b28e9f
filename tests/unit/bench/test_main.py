from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import __main__ as bench_main
from bench.plan import QUICK
from bench.rows import ROWS, Row


def test_all_rows_are_measured_when_none_is_named() -> None:
    assert bench_main.choose([]) == list(ROWS)


def test_named_rows_come_in_the_order_of_the_table() -> None:
    assert [row.name for row in bench_main.choose(["functions", "relay"])] == ["relay", "functions"]


def test_every_row_names_a_module_with_a_measure_function() -> None:
    for row in ROWS:
        assert callable(__import__(f"bench.rows.{row.module}", fromlist=["measure"]).measure)


def test_a_missing_tool_is_named_once() -> None:
    rows = [Row("a", "", "a", ("no-such-tool",)), Row("b", "", "b", ("no-such-tool", "sh"))]
    assert bench_main.missing_tools(rows) == ["no-such-tool"]


def test_every_tool_that_a_row_needs_has_a_package() -> None:
    assert {tool for row in ROWS for tool in row.needs} <= bench_main.PACKAGES.keys()


def test_missing_tools_are_answered_with_the_line_that_installs_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench_main, "missing_tools", lambda rows: ["nginx", "wrk"])
    assert bench_main.main(["--only", "relay"]) == 2
    assert "sudo apt-get install nginx-light wrk" in capsys.readouterr().err


def test_the_list_names_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_main.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [row.name for row in ROWS]


def test_an_unknown_row_is_a_wrong_flag() -> None:
    with pytest.raises(SystemExit, match="2"):
        bench_main.main(["--only", "nothing"])


def test_a_row_that_cannot_be_measured_is_a_finding_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(row: Row, plan: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Row, "measure", broken)
    [finding] = bench_main.measured(ROWS[0], QUICK)
    assert (finding.verdict, finding.notes) == ("failed", ("no room",))


def test_results_are_written_as_markdown_and_json(tmp_path: Path) -> None:
    path = bench_main.write(tmp_path / "deep" / "results", "2026-01-01-abc", {"kernel": "Linux"}, [])
    assert path.read_text().startswith("# Speed, measured")
    assert json.loads(path.with_suffix(".json").read_text()) == {"machine": {"kernel": "Linux"}, "rows": []}
