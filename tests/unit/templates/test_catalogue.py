"""Where templates are found, and what is said of one that is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import InvalidInput, NotFound
from penstock.templates.catalogue import find_template, pulled, shipped


def put(directory: Path, name: str, text: str = "language: mine\n") -> None:
    folder = directory / "template" / name
    (folder / "function").mkdir(parents=True)
    (folder / "template.yml").write_text(text)


def test_a_shipped_template_needs_no_folder(tmp_path: Path) -> None:
    found = find_template("python3-http", tmp_path)
    assert (found.name, found.shipped, found.needs_source) == ("python3-http", True, True)


def test_one_that_was_pulled_comes_first(tmp_path: Path) -> None:
    put(tmp_path, "python3-http")
    found = find_template("python3-http", tmp_path)
    assert (found.language, found.shipped) == ("mine", False)


def test_a_pinned_one_is_another(tmp_path: Path) -> None:
    put(tmp_path, "x@1.0")
    put(tmp_path, "x@feature/y")
    assert find_template("x@1.0", tmp_path).name == "x@1.0"
    assert [template.name for template in pulled(tmp_path)] == ["x@1.0", "x@feature/y"]
    with pytest.raises(NotFound):
        find_template("x", tmp_path)


def test_folders_that_are_no_templates_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "x")
    (tmp_path / "template" / "notes").mkdir()
    (tmp_path / "template" / "file").touch()
    assert [template.name for template in pulled(tmp_path)] == ["x"]
    assert pulled(tmp_path / "elsewhere") == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("python-http", "did you mean python3-http?"), ("cobol", "there are "), ("mnie", "did you mean mine?")],
)
def test_a_missing_one_is_told_with_what_there_is(tmp_path: Path, name: str, words: str) -> None:
    put(tmp_path, "mine")
    with pytest.raises(NotFound) as caught:
        find_template(name, tmp_path)
    assert f"template {name!r} is neither in {tmp_path / 'template'}" in str(caught.value)
    assert words in str(caught.value)


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path / "template", "../x")
    with pytest.raises(InvalidInput):
        find_template("../x", tmp_path)


def test_the_shipped_ones_can_all_be_read_and_say_what_they_are_for() -> None:
    templates = shipped()
    assert "python3-http" in [template.name for template in templates]
    for template in templates:
        assert template.shipped
        assert 0 < len(template.description) < 80, template.name
        assert template.welcome_message.endswith("\n"), template.name
