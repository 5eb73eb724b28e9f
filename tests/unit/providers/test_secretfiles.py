from __future__ import annotations

from pathlib import Path

import pytest

from penstock.providers.secretfiles import SecretFiles


def test_values_come_back_byte_for_byte_from_private_files(tmp_path: Path) -> None:
    store = SecretFiles(tmp_path / "secrets")
    store.write("key", "ns", b"\x00\xff\n")
    store.write("empty", "ns", b"")
    assert store.read("key", "ns") == b"\x00\xff\n"
    assert store.names("ns") == ["empty", "key"]
    assert (tmp_path / "secrets/ns/key").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "secrets/ns").stat().st_mode & 0o777 == 0o700


def test_a_value_is_replaced_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    store = SecretFiles(tmp_path)
    store.write("key", "ns", b"old")
    store.write("key", "ns", b"new")
    assert store.read("key", "ns") == b"new"
    assert [path.name for path in (tmp_path / "ns").iterdir()] == ["key"]


def test_what_a_crash_left_behind_is_no_secret(tmp_path: Path) -> None:
    store = SecretFiles(tmp_path)
    store.write("key", "ns", b"x")
    (tmp_path / "ns/.1234.new").write_bytes(b"half")
    assert store.names("ns") == ["key"]


def test_absent_secrets_raise_key_error(tmp_path: Path) -> None:
    store = SecretFiles(tmp_path)
    assert store.names("ns") == []
    with pytest.raises(KeyError):
        store.read("key", "ns")
    with pytest.raises(KeyError):
        store.remove("key", "ns")
    store.remove_namespace("ns")
