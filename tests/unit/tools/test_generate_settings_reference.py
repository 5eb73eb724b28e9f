"""The settings page of the documentation is what its generator writes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from penstock.settings import ServeSettings, StorageSettings, WireSettings
from tools.generate_settings_reference import PAGE, described, render


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == render(), "run: python -m tools.generate_settings_reference"


def test_every_setting_is_on_the_page() -> None:
    page = render()
    for name in {item.name for item in fields(ServeSettings)} - {"wire", "storage"}:
        assert f"`PENSTOCK_{name.upper()}`" in page
    for item in fields(WireSettings):
        assert f"`PENSTOCK_WIRE_{item.name.upper()}`" in page
    for item in fields(StorageSettings):
        assert f"`PENSTOCK_S3_{item.name.upper()}`" in page


@dataclass(frozen=True)
class Unexplained:
    size: int = 1


def test_a_setting_without_a_docstring_is_refused() -> None:
    # `from __future__ import annotations` makes the type the text that the generator knows it by.
    with pytest.raises(ValueError, match=r"Unexplained\.size"):
        list(described(Unexplained))
