"""The image's root, from two small bundles."""

from __future__ import annotations

import dataclasses
import os
import stat
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from penstock.image.layout import CERTIFICATES, FILES, FOLDERS, HOME, USER, divide, lay_out
from penstock.watchdog.bundle.collect import LIBRARY, Contents
from penstock.watchdog.bundle.tar import write_layer
from penstock.watchdog.bundle.write import write
from tests.unit.watchdog.bundle.support import small_contents


@pytest.fixture
def watchdog(tmp_path: Path) -> Contents:
    return small_contents(tmp_path / "sources")


@pytest.fixture
def gateway(tmp_path: Path, watchdog: Contents) -> Contents:
    """The watchdog's contents, and a module more."""
    (tmp_path / "sources" / "three.py").write_text("def name() -> str:\n    return ''\n")
    more = {**watchdog.bytecode, f"{LIBRARY}/three.pyc": tmp_path / "sources" / "three.py"}
    return dataclasses.replace(watchdog, bytecode=more)


@pytest.fixture
def root(tmp_path: Path, watchdog: Contents, gateway: Contents) -> Path:
    root = tmp_path / "root"
    (root / "penstock").mkdir(parents=True)
    write(watchdog, root / "penstock", 0)
    (tmp_path / "authorities").write_text("trusted")
    lay_out(root, watchdog, gateway, tmp_path / "authorities", 0)
    return root


def test_what_both_have_is_one_file_with_two_names(root: Path) -> None:
    for name in (f"{LIBRARY}/one.pyc", f"{LIBRARY}/pack/two.pyc", "lib/libx.so.1", "licenses/x/LICENSE"):
        assert os.path.samefile(root / "penstock" / name, root / "opt/penstock" / name), name
    assert not (root / "penstock" / LIBRARY / "three.pyc").exists()


def test_a_file_of_the_same_place_from_elsewhere_is_the_gateways_own(tmp_path: Path, watchdog: Contents) -> None:
    other = {**watchdog.bytecode, f"{LIBRARY}/one.pyc": tmp_path / "another.py"}
    own, shared = divide(dataclasses.replace(watchdog, bytecode=other), watchdog)
    assert own.bytecode == {f"{LIBRARY}/one.pyc": tmp_path / "another.py"}
    assert f"{LIBRARY}/one.pyc" not in shared


def test_tracebacks_show_the_gateways_own_place(root: Path) -> None:
    library = root / "opt/penstock" / LIBRARY
    code = f"import sys; sys.path.insert(0, {str(library)!r}); import three; print(three.name.__code__.co_filename)"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"/opt/penstock/{LIBRARY}/three.py\n"


def test_penstock_is_found_by_its_name(root: Path) -> None:
    assert os.readlink(root / "usr/local/bin/penstock") == "/opt/penstock/penstock"
    assert os.readlink(root / "opt/penstock/bin/python3") == "../penstock"
    assert (root / "opt/penstock/penstock").read_bytes().startswith(b"\x7fELF")


def test_the_system_has_two_users_and_trusts_the_authorities(root: Path) -> None:
    lines = [line.split(":") for line in (root / "etc/passwd").read_text().splitlines()]
    assert [(line[0], line[2], line[5]) for line in lines] == [("root", "0", "/root"), ("penstock", "12000", HOME)]
    assert (root / CERTIFICATES.lstrip("/")).read_text() == "trusted"
    assert {stat.S_IMODE((root / name).stat().st_mode) for name in FILES} == {0o644}


def test_a_machine_that_trusts_nobody_makes_an_image_that_does_not(
    tmp_path: Path, watchdog: Contents, gateway: Contents
) -> None:
    (tmp_path / "root" / "penstock").mkdir(parents=True)
    write(watchdog, tmp_path / "root" / "penstock", 0)
    lay_out(tmp_path / "root", watchdog, gateway, None, 0)
    assert not (tmp_path / "root/etc/ssl").exists()


def test_a_layer_of_it_names_everything_once_and_folders_before_what_is_in_them(root: Path) -> None:
    write_layer(root.parent / "layer", 0, {"": root}, FOLDERS)
    with tarfile.open(root.parent / "layer") as layer:
        names = layer.getnames()
    assert sorted(set(names)) == sorted(names)  # engines refuse another
    known = {"."}
    for name in names:
        assert str(Path(name).parent) in known, name
        known.add(name)


def test_the_home_is_penstocks_and_any_users_of_group_0() -> None:
    folders = {folder.name: folder for folder in FOLDERS}
    home = folders[HOME.strip("/")]
    assert (home.mode, home.owner, home.group) == (0o770, USER, 0)
    assert folders["tmp"].mode == 0o1777
