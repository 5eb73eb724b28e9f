from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import plot_scaling

LARGEST = 120_000
"""Bytes of one plot; a page shows eight of them."""


def test_the_plots_show_what_the_rules_give_now() -> None:
    """Otherwise run `python -m tools.plot_scaling` and look at the page again."""
    assert json.loads((plot_scaling.FOLDER / plot_scaling.NUMBERS).read_text()) == plot_scaling.numbers()


def test_every_scenario_has_its_plot_on_the_page() -> None:
    page = (plot_scaling.FOLDER.parent / "scaling.md").read_text()
    for scenario in plot_scaling.scenarios():
        assert f"(scaling/{scenario.name}.svg)" in page
        assert (plot_scaling.FOLDER / f"{scenario.name}.svg").stat().st_size < LARGEST


def test_a_plot_is_a_small_svg_whose_words_are_text(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_scaling.draw(plot_scaling.scenarios()[0], tmp_path)
    text = (tmp_path / "step.svg").read_text()
    assert "desired, by load" in text
    assert len(text) < LARGEST
