"""What may be replaced by a bundle, and that it happens in one step."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import InvalidInput
from penstock.watchdog.bundle import replace
from penstock.watchdog.bundle.replace import check_directory, check_file, put_directory, workplace
from penstock.watchdog.bundle.write import MARK


@pytest.fixture
def new(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / MARK).write_text("new")
    return folder


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    (folder / MARK).write_text("old")
    return folder


def test_nothing_an_empty_directory_and_an_earlier_bundle_may_be_replaced(tmp_path: Path, earlier: Path) -> None:
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "nothing", tmp_path / "empty", earlier):
        check_directory(target)


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").touch()
    with pytest.raises(InvalidInput, match="neither empty nor an earlier bundle"):
        check_directory(tmp_path / "photos")


def test_a_file_and_a_link_are_no_place_for_a_bundle(tmp_path: Path, earlier: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(earlier)
    for name in ("file", "link"):
        with pytest.raises(InvalidInput, match="is not a directory"):
            check_directory(tmp_path / name)


def test_an_image_replaces_a_file_only(tmp_path: Path) -> None:
    (tmp_path / "old.tar").touch()
    check_file(tmp_path / "old.tar")
    check_file(tmp_path / "new.tar")
    with pytest.raises(InvalidInput, match="is not a file"):
        check_file(tmp_path)


def test_the_new_takes_an_empty_or_missing_place(tmp_path: Path, new: Path) -> None:
    put_directory(new, tmp_path / "there")
    (tmp_path / "empty").mkdir()
    put_directory(tmp_path / "there", tmp_path / "empty")
    assert (tmp_path / "empty" / MARK).read_text() == "new"


@pytest.mark.parametrize("exchanges", [True, False])
def test_the_new_takes_the_place_of_the_old(
    new: Path, earlier: Path, exchanges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(replace, "_exchange", lambda one, other: False)
    put_directory(new, earlier)
    assert (earlier / MARK).read_text() == "new"


def test_the_old_stays_when_the_new_cannot_move(new: Path, earlier: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(one: Path, other: Path) -> bool:
        one.rename(one.with_name("elsewhere"))
        return False

    monkeypatch.setattr(replace, "_exchange", gone)
    with pytest.raises(FileNotFoundError):
        put_directory(new, earlier)
    assert (earlier / MARK).read_text() == "old"


def test_a_workplace_is_beside_the_target_and_gone_afterwards(tmp_path: Path) -> None:
    def interrupted() -> None:
        with workplace(tmp_path / "target") as place:
            assert place.parent == tmp_path
            (place / "half").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_target_in_no_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="there is no directory"), workplace(tmp_path / "no" / "target"):
        pass
