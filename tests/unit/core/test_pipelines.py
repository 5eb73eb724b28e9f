"""Named pipelines by themselves."""

from __future__ import annotations

import pytest

from penstock.core.pipelines import resolve_stage


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("sort", "sort.dev"),
        ("sort.other", "sort.other"),
        ("sort/a.b?c=d.e", "sort.dev/a.b?c=d.e"),
        ("sort?c=d.e", "sort.dev?c=d.e"),
        ("sort.other/a", "sort.other/a"),
    ],
)
def test_a_stage_without_a_namespace_is_in_that_of_its_pipeline(text: str, resolved: str) -> None:
    assert resolve_stage(text, "dev") == resolved
