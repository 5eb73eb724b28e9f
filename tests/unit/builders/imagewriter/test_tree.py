"""The files of layers, known without being unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from penstock.builders.imagewriter import tree as tree_module
from penstock.builders.imagewriter.image import Layer
from penstock.builders.imagewriter.store import Store
from penstock.builders.imagewriter.tree import Node, Tree
from penstock.errors import BuildFailed


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store({"PENSTOCK_BUILDS": str(tmp_path / "builds")})


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", target: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, len(data), target
    return info, data


def layer(store: Store, *entries: tuple[tarfile.TarInfo, bytes]) -> Layer:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return keep(store, gzip.compress(file.getvalue()))


def keep(store: Store, data: bytes) -> Layer:
    return Layer(store.add(data), len(data), f"sha256:{hashlib.sha256(data).hexdigest()}")


def applied(store: Store, *layers: Layer) -> Tree:
    tree = Tree()
    for number, each in enumerate(layers):
        tree.apply(number, each, store)
    return tree


def paths(tree: Tree) -> list[str]:
    return [path for path, _ in tree.below("")]


def test_later_layers_lie_over_earlier_ones(store: Store) -> None:
    first = layer(store, entry("a/b", data=b"1"), entry("a/c"), entry("d/e"), entry("f/g"), entry("h"))
    second = layer(
        store, entry("a/b", data=b"22"), entry("d/.wh.e"), entry("f/.wh..wh..opq"), entry("f/new"), entry(".wh.h")
    )
    tree = applied(store, first, second)
    assert paths(tree) == ["a", "a/b", "a/c", "d", "f", "f/new"]
    found = tree.get("a/b")
    assert found is not None
    assert (found.size, found.layer) == (2, 1)


def test_a_file_in_the_place_of_a_folder_takes_away_what_was_in_it(store: Store) -> None:
    tree = applied(store, layer(store, entry("a/b/c")), layer(store, entry("a")))
    assert paths(tree) == ["a"]


def test_names_that_lead_out_are_in_no_tree(store: Store) -> None:
    tree = applied(
        store,
        layer(store, entry("../out"), entry("a/../../out"), entry("/abs"), entry("./dot"), entry("x/" * 300 + "y")),
    )
    assert paths(tree) == ["abs", "dot"]


def test_links_are_followed_inside_the_root_alone(store: Store) -> None:
    tree = applied(
        store,
        layer(
            store,
            entry("usr/bin/sh"),
            entry("bin", tarfile.SYMTYPE, target="usr/bin"),
            entry("up", tarfile.SYMTYPE, target="../../../../usr"),
            entry("abs", tarfile.SYMTYPE, target="/bin/sh"),
            entry("circle", tarfile.SYMTYPE, target="circle"),
        ),
    )
    assert tree.resolve("bin/sh") == "usr/bin/sh"
    assert tree.resolve("up/bin") == "usr/bin"
    assert tree.resolve("abs") == "usr/bin/sh"
    assert tree.place("abs") == "abs"
    assert tree.resolve("none/../../x") == "x"
    with pytest.raises(BuildFailed, match="more than 40 links"):
        tree.resolve("circle/x")


def test_a_hard_link_is_the_file_that_it_names(store: Store) -> None:
    tree = applied(store, layer(store, entry("a", data=b"123"), entry("b", tarfile.LNKTYPE, target="a")))
    assert tree.get("b") == tree.get("a")


def test_devices_are_nothing_that_can_be_copied(store: Store) -> None:
    tree = applied(store, layer(store, entry("dev/null", tarfile.CHRTYPE)))
    assert tree.get("dev/null") == Node("other", 0o644)


@pytest.mark.parametrize(
    "data",
    [gzip.compress(b"no tar" * 200), gzip.compress(b"\0" * 512 + b"x" * 5000)[:40], b"\x1f\x8bnonsense", b"x" * 1024],
    ids=["no-tar", "cut", "no-gzip", "plain"],
)
def test_damaged_layers_are_refused(store: Store, data: bytes) -> None:
    with pytest.raises(BuildFailed, match="is damaged"):
        applied(store, keep(store, data))


def test_headers_that_would_fill_the_memory_are_refused(store: Store) -> None:
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 1 << 34
    with pytest.raises(BuildFailed, match="has a header of 17179869184 bytes"):
        applied(store, keep(store, info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024))


def test_a_layer_that_unpacks_without_end_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "MOST_BLOB", 1 << 22)
    bomb = layer(store, entry("zeros", data=bytes(1 << 23)))
    assert bomb.size < 1 << 15
    with pytest.raises(BuildFailed, match="unpacks to more than 4194304 bytes"):
        applied(store, bomb)


def test_a_layer_of_more_entries_than_there_may_be_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "MOST_ENTRIES", 3)
    with pytest.raises(BuildFailed, match="has more than 3 entries"):
        applied(store, layer(store, *(entry(str(number)) for number in range(4))))
