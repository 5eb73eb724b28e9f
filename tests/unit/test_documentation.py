"""The documentation's links lead somewhere, and every page can be reached from its index."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]

PAGES = sorted([*TREE.glob("*.md"), *TREE.glob("docs/**/*.md"), *TREE.glob("examples/*.md")])

LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")


def targets(page: Path) -> list[Path]:
    """Files that a page links to; addresses of other places are left out."""
    links = [link.partition("#")[0] for link in LINK.findall(page.read_text())]
    return [(page.parent / link).resolve() for link in links if link and "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TREE)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert [str(target) for target in targets(page) if not target.exists()] == []


def test_every_page_is_in_the_index() -> None:
    pages = {page for page in TREE.glob("docs/*/*.md") if page.parent.name != "decisions"}
    assert pages <= set(targets(TREE / "docs" / "README.md"))


def test_every_decision_is_in_the_index_of_decisions() -> None:
    index = TREE / "docs" / "decisions" / "README.md"
    assert set(index.parent.glob("[0-9]*.md")) <= set(targets(index))
