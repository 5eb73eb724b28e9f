"""Archives by which files get into containers."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from penstock.providers.containers.volumes import archive_of_bundle, archive_of_secrets


def test_secrets_are_roots_files_that_everybody_may_read() -> None:
    data = archive_of_secrets({"b": b"\x00\xff", "a.key": b""})
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        entries = archive.getmembers()
        assert [(one.name, one.mode, one.uid, one.gid) for one in entries] == [
            ("a.key", 0o444, 0, 0),
            ("b", 0o444, 0, 0),
        ]
        found = archive.extractfile("b")
        assert found
        assert found.read() == b"\x00\xff"


def test_the_mark_of_a_bundle_comes_last(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "z.pyc").write_bytes(b"z")
    (tmp_path / "bundle.json").write_text("{}")
    (tmp_path / "fwatchdog").write_bytes(b"launcher")
    (tmp_path / "fwatchdog").chmod(0o755)
    (tmp_path / "of-watchdog").symlink_to("fwatchdog")
    with archive_of_bundle(tmp_path) as file, tarfile.open(fileobj=file) as archive:
        assert archive.getnames() == ["fwatchdog", "lib", "lib/z.pyc", "of-watchdog", "bundle.json"]
        assert archive.getmember("fwatchdog").mode == 0o755
        assert archive.getmember("of-watchdog").linkname == "fwatchdog"
        assert {(one.uid, one.gid, one.uname) for one in archive.getmembers()} == {(0, 0, "")}
