"""How a bundle is laid out, from a small one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import InvalidInput, PenstockError
from penstock.watchdog.bundle.build import time_of
from penstock.watchdog.bundle.collect import LIBRARY, Contents
from penstock.watchdog.bundle.elf import without_sections
from penstock.watchdog.bundle.write import MARK, Size, command_line, entrypoint, measure, write
from tests.unit.watchdog.bundle.support import make_elf, small_contents


@pytest.fixture
def contents(tmp_path: Path) -> Contents:
    return small_contents(tmp_path / "sources")


@pytest.fixture
def bundle(tmp_path: Path, contents: Contents) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write(contents, folder, 86400)
    return folder


def test_modules_are_bytecode_that_can_be_imported_without_sources(bundle: Path) -> None:
    code = "import one, pack.two; print(sorted(one.ONE), one.name.__code__.co_filename)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(bundle / LIBRARY)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"['a', 'b', 'c'] /penstock/{LIBRARY}/one.py\n"


def test_libraries_are_kept_as_far_as_they_are_loaded(bundle: Path) -> None:
    assert (bundle / "lib" / "libx.so.1").read_bytes() == without_sections(make_elf(soname="libx.so.1"))


def test_the_launcher_has_its_names(bundle: Path) -> None:
    assert os.readlink(bundle / "of-watchdog") == "fwatchdog"
    assert os.readlink(bundle / "penstock-watchdog") == "fwatchdog"
    assert os.readlink(bundle / "bin" / "python3") == "../fwatchdog"
    assert (bundle / "fwatchdog").read_bytes().startswith(b"\x7fELF")


def test_any_user_may_read_it_and_only_programs_are_executable(bundle: Path) -> None:
    modes = {
        str(path.relative_to(bundle)): stat.S_IMODE(path.stat().st_mode)
        for path in bundle.rglob("*")
        if not path.is_symlink()
    }
    executable = {name for name, mode in modes.items() if mode == 0o755}
    assert set(modes.values()) == {0o755, 0o644}
    assert executable == {
        *("bin", "fwatchdog", "lib", "lib/libx.so.1", "licenses", "licenses/x"),
        *(LIBRARY, f"{LIBRARY}/lib-dynload", f"{LIBRARY}/pack"),
    }


def test_all_times_are_the_one_that_was_asked_for(bundle: Path) -> None:
    assert {path.lstat().st_mtime for path in [bundle, *bundle.rglob("*")]} == {86400}


def test_the_same_contents_make_the_same_bytes(tmp_path: Path, bundle: Path, contents: Contents) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(contents, other, 0)
    for path in bundle.rglob("*"):
        if path.is_file():
            assert (other / path.relative_to(bundle)).read_bytes() == path.read_bytes(), path


def test_it_tells_what_it_was_made_from(bundle: Path) -> None:
    facts = json.loads((bundle / MARK).read_text())
    assert facts["machine"] == "x86_64"
    assert facts["python"] == sys.version.split()[0]
    assert facts["entrypoint"] == ["/penstock/fwatchdog"]


def test_its_size_is_that_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(bytes(1000))
    (tmp_path / "link").symlink_to("folder/file")
    assert measure(tmp_path) == Size(files=2, bytes=1000 + len("folder/file"))


def test_what_cannot_be_compiled_is_named(tmp_path: Path, contents: Contents) -> None:
    contents.bytecode[f"{LIBRARY}/one.pyc"].write_text("def (:")
    (tmp_path / "bundle").mkdir()
    with pytest.raises(PenstockError, match=r"one\.py: .*invalid syntax"):
        write(contents, tmp_path / "bundle", 0)


def test_a_broken_library_is_named(tmp_path: Path, contents: Contents) -> None:
    contents.binaries["lib/libx.so.1"].write_bytes(make_elf()[:100])
    (tmp_path / "bundle").mkdir()
    with pytest.raises(InvalidInput, match=r"libx\.so: its table of segments is broken"):
        write(contents, tmp_path / "bundle", 0)


def test_a_machine_without_a_launcher_is_told_the_long_way(contents: Contents) -> None:
    other = Contents("riscv64", {}, {}, {}, "lib/ld-linux-riscv64-lp64d.so.1", ())
    assert entrypoint(contents, "/b") == ["/b/fwatchdog"]
    assert entrypoint(other, "/b") == command_line(other, "/b")
    assert " ".join(command_line(other, "/b")) == (
        "/b/lib/ld-linux-riscv64-lp64d.so.1 --library-path /b/lib --argv0 /b/bin/python3 /b/lib/interpreter"
        " -I -S -m penstock.watchdog"
    )


def test_the_time_is_the_epochs_or_that_of_the_source() -> None:
    assert time_of({}) == 0
    assert time_of({"SOURCE_DATE_EPOCH": "1700000000"}) == 1700000000
    assert time_of({"SOURCE_DATE_EPOCH": str(8**11 - 1)}) == 8**11 - 1


@pytest.mark.parametrize("text", ["-1", "soon", "1.5", str(8**11), "9" * 11, "\N{ARABIC-INDIC DIGIT ONE}"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="SOURCE_DATE_EPOCH"):
        time_of({"SOURCE_DATE_EPOCH": text})
