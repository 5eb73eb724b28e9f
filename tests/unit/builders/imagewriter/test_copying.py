"""COPY and ADD of what archives and layers hold, however oddly they are made."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from penstock.builders.imagewriter.copying import Context, Copy, Files, Owner, Source, Target
from penstock.builders.imagewriter.dockerfile import Instruction
from penstock.builders.imagewriter.image import Layer
from penstock.builders.imagewriter.store import Store
from penstock.builders.imagewriter.tree import Tree, members
from penstock.errors import InvalidInput
from tests.unit.builders.imagewriter.test_tree import applied, entry, layer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store({"PENSTOCK_BUILDS": str(tmp_path / "builds")})


def files(store: Store, *layers: Layer) -> Files:
    return Files(applied(store, *layers), layers, store)


def copied(store: Store, source: Source, *names: str, unpack: bool = False) -> tuple[Layer, Tree]:
    """The layer that comes of copying names to the root of an empty image, and the image's files then."""
    tree = Tree()
    instruction = Instruction(1, "ADD" if unpack else "COPY", {}, " ".join(names))
    made = Copy(instruction, source, Target(tree, (), "/"), Owner()).run(list(names), "/", store, 0, unpack=unpack)
    return made, tree


def contents(store: Store, made: Layer) -> list[tuple[str, bytes]]:
    """The files of a layer in their order."""
    found = []
    for each, archive in members(store.blob(made.digest), made):
        if each.isreg():
            opened = archive.extractfile(each)
            assert opened is not None
            found.append((each.name, opened.read()))
    return found


def archive(folder: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Context:
    """A context with the file `a.tar`."""
    folder.mkdir()
    with tarfile.open(folder / "a.tar", "w") as file:
        for info, data in entries:
            file.addfile(info, io.BytesIO(data))
    return Context(folder)


def test_of_a_name_that_a_layer_has_twice_the_last_one_is_copied(store: Store) -> None:
    twice = layer(store, entry("x", data=b"first"), entry("y", data=b"other"), entry("x", data=b"last one"))
    made, _ = copied(store, files(store, twice), "x", "y")
    assert sorted(contents(store, made)) == [("x", b"last one"), ("y", b"other")]


def test_however_the_name_is_written(store: Store) -> None:
    twice = layer(store, entry("./x", data=b"first"), entry("x", data=b"last one"))
    assert contents(store, copied(store, files(store, twice), "x")[0]) == [("x", b"last one")]


def test_a_hard_link_keeps_what_its_name_was_when_it_was_made(store: Store) -> None:
    linked = layer(
        store, entry("x", data=b"first"), entry("l", tarfile.LNKTYPE, target="x"), entry("x", data=b"last one")
    )
    made, _ = copied(store, files(store, linked), "x", "l")
    assert sorted(contents(store, made)) == [("l", b"first"), ("x", b"last one")]


def test_a_file_that_replaces_one_of_a_lower_layer_is_found_in_its_own(store: Store) -> None:
    lower = layer(store, entry("x", data=b"1"), entry("x", data=b"22"))
    made, _ = copied(store, files(store, lower, layer(store, entry("x", data=b"333"))), "x")
    assert contents(store, made) == [("x", b"333")]


def test_an_unpacked_archive_counts_the_same(store: Store, tmp_path: Path) -> None:
    context = archive(tmp_path / "c", entry("x", data=b"first"), entry("x", data=b"last one"))
    made, tree = copied(store, context, "a.tar", unpack=True)
    again, _ = copied(store, Files(tree, (made,), store), "x")
    assert contents(store, again) == [("x", b"last one")]


def test_hard_links_of_an_unpacked_archive_are_files(store: Store, tmp_path: Path) -> None:
    context = archive(
        tmp_path / "c", entry("x", data=b"12"), entry("l", tarfile.LNKTYPE, target="x"), entry("x", data=b"3")
    )
    assert contents(store, copied(store, context, "a.tar", unpack=True)[0]) == [("x", b"12"), ("l", b"12"), ("x", b"3")]


@pytest.mark.parametrize(
    "bad",
    [
        entry("../x", data=b"1"),
        entry("a/../../x", data=b"1"),
        entry("l", tarfile.LNKTYPE, target="../../etc/passwd"),
        entry("l", tarfile.LNKTYPE, target="nowhere"),
        entry("l", tarfile.LNKTYPE, target="l"),
        entry("d", tarfile.CHRTYPE),
        entry("f", tarfile.FIFOTYPE),
    ],
    ids=lambda value: f"{value[0].name}-{value[0].linkname}-{value[0].type.decode()}",
)
def test_hostile_archives_are_refused(store: Store, tmp_path: Path, bad: tuple[tarfile.TarInfo, bytes]) -> None:
    context = archive(tmp_path / "c", entry("good", data=b"1"), bad)
    with pytest.raises(InvalidInput, match=r"leads out of the archive|neither a file nor a folder"):
        copied(store, context, "a.tar", unpack=True)


def test_links_and_absolute_names_of_an_archive_stay_inside(store: Store, tmp_path: Path) -> None:
    context = archive(
        tmp_path / "c",
        entry("out", tarfile.SYMTYPE, target="/../../etc"),
        entry("out/x", data=b"1"),
        entry("/y", data=b"2"),
    )
    assert contents(store, copied(store, context, "a.tar", unpack=True)[0]) == [("etc/x", b"1"), ("y", b"2")]
